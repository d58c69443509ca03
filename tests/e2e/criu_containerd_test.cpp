// containerd's ctr, as Debian has it, with our criu first in PATH: a daemon of the test's own.
#include <gtest/gtest.h>
#include <signal.h>

#include <cstdlib>
#include <fstream>

#include "tests/e2e/counting_container.h"
#include "tests/e2e/harness.h"
#include "tests/e2e/proc.h"
#include "tests/e2e/real_program.h"
#include "tests/e2e/runtime.h"
#include "tests/e2e/scratch_cgroup.h"

namespace godwit::e2e {
namespace {

/// An image of one layer: https://github.com/opencontainers/image-spec/blob/main/image-layout.md
constexpr const char* kMakeImage = R"(
import hashlib, json, os
os.makedirs('image/blobs/sha256')
def put(blob, kind):
    digest = hashlib.sha256(blob).hexdigest()
    open('image/blobs/sha256/' + digest, 'wb').write(blob)
    return {'mediaType': 'application/vnd.oci.image.' + kind, 'digest': 'sha256:' + digest, 'size': len(blob)}
layer = put(open('layer.tar', 'rb').read(), 'layer.v1.tar')
config = put(json.dumps({'architecture': 'amd64', 'os': 'linux', 'config': {},
                         'rootfs': {'type': 'layers', 'diff_ids': [layer['digest']]}}).encode(), 'config.v1+json')
manifest = put(json.dumps({'schemaVersion': 2, 'mediaType': 'application/vnd.oci.image.manifest.v1+json',
                           'config': config, 'layers': [layer]}).encode(), 'manifest.v1+json')
manifest['platform'] = {'architecture': 'amd64', 'os': 'linux'}
manifest['annotations'] = {'io.containerd.image.name': 'local/counter:1', 'org.opencontainers.image.ref.name': '1'}
json.dump({'schemaVersion': 2, 'manifests': [manifest]}, open('image/index.json', 'w'))
open('image/oci-layout', 'w').write('{"imageLayoutVersion": "1.0.0"}')
)";

class Containerd : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* program : {"/usr/bin/containerd", "/usr/bin/ctr", "/usr/sbin/runc", "/bin/busybox"}) {
      ASSERT_TRUE(have_program(program)) << program << " is needed (scripts/install-deps)";
    }
    const std::string directory = state_.path();
    std::ofstream(state_ / "config.toml")
        << "version = 2\nroot = '" << directory << "/root'\nstate = '" << directory
        << "/state'\ndisabled_plugins = ['io.containerd.grpc.v1.cri']\n"
        << "[grpc]\n  address = '" << directory << "/socket'\n";
    std::ofstream(state_ / "image.py") << kMakeImage;
    ASSERT_TRUE(with_criu("cd '" + directory + "' && containerd -c config.toml >log 2>&1 & echo $! >'" +
                          directory + "/pid'")
                    .ok());
    ASSERT_TRUE(wait_until([&] { return ctr("version").ok(); }, 30)) << try_read(state_ / "log").value_or("");
    const Outcome made = with_criu(
        "cd '" + directory + "' && mkdir -p fs/bin fs/proc fs/dev fs/sys && cp /bin/busybox fs/bin/ && " +
        "for name in sh cat mv usleep; do ln -s busybox fs/bin/$name; done && tar -C fs -cf layer.tar . && " +
        "/usr/bin/python3 image.py && tar -C image -cf image.tar . && " + ctr_ + "images import image.tar");
    ASSERT_TRUE(made.ok()) << made.words();
  }

  void TearDown() override {
    for (const std::string& name : words_of(ctr("containers ls -q").output)) {
      remove(name);
    }
    const pid_t daemon = std::atoi(try_read(state_ / "pid").value_or("").c_str());
    if (daemon > 0) {
      ::kill(daemon, SIGTERM);
      EXPECT_TRUE(wait_until_gone({daemon}, 30));
    }
    unmount_below(state_.path());
    remove_cgroups(space_);
  }

  /// What it prints goes to a file: shims, which stay, would hold a pipe of ours.
  Outcome ctr(const std::string& arguments) const {
    const std::string output = state_ / "output";
    Outcome outcome = with_criu(ctr_ + arguments + " >'" + output + "' 2>&1");
    outcome.output += try_read(output).value_or("");
    return outcome;
  }
  int count(const std::string& name) const {
    return std::atoi(ctr("tasks exec --exec-id look " + name + " cat /count").output.c_str());
  }
  bool counts(const std::string& name) const {
    const int before = count(name);
    return wait_until([&] { return count(name) > before; }, 10);
  }
  void remove(const std::string& name) const {
    static_cast<void>(ctr("tasks rm --force " + name));
    static_cast<void>(ctr("containers rm " + name));
  }

  Reaper reaper_;
  TemporaryDirectory state_;
  const std::string space_ = "gwc" + std::to_string(::getpid());
  const std::string ctr_ = "ctr -a '" + state_.path() + "/socket' -n " + space_ + " ";
};

/// What has been restored has the checkpoint for its image, of which ctr makes no further one.
TEST_F(Containerd, ACheckpointIsAnImageAndRunsUnderAnotherNameThreeTimes) {
  for (int round = 0; round < 3; ++round) {
    SCOPED_TRACE("round " + std::to_string(round));
    const std::string first = space_ + "-first-" + std::to_string(round);
    const std::string second = space_ + "-second-" + std::to_string(round);
    const Outcome started = ctr("run -d local/counter:1 " + first + " /bin/sh -c '" + kCountForever + "'");
    ASSERT_TRUE(started.ok()) << started.words();
    ASSERT_TRUE(counts(first));
    const std::string reference = "local/checkpoint:" + std::to_string(round);
    const int before = count(first);
    ASSERT_GT(before, 0);
    const Outcome dumped = ctr("containers checkpoint --task --rw " + first + " " + reference);
    ASSERT_TRUE(dumped.ok()) << dumped.words();
    EXPECT_TRUE(counts(first)) << "containerd leaves it running";
    remove(first);
    const Outcome restored = ctr("containers restore --live --rw " + second + " " + reference);
    ASSERT_TRUE(restored.ok()) << restored.words();
    EXPECT_TRUE(counts(second));
    EXPECT_GT(count(second), before) << "it goes on where it was";
    remove(second);
  }
}

}  // namespace
}  // namespace godwit::e2e

#include "tests/bench/runc.h"

#include <stdlib.h>

#include "kernel/error.h"
#include "tests/bench/limits.h"
#include "tests/bench/samples.h"
#include "tests/e2e/proc.h"
#include "tests/e2e/runc_container.h"

namespace godwit::bench {

namespace {

constexpr int kMegabytes = 1024;

// A client in the container fills it; it is gone before the first round.
const std::string kRedis =
    "c['process']['args'] = ['/usr/bin/redis-server', '--port', '0', '--unixsocket', '/tmp/redis', "
    "'--save', '', '--dir', '/tmp']\n"
    "c['mounts'].append({'destination': '/usr', 'type': 'none', 'source': '/usr', "
    "'options': ['rbind', 'ro']})";

class Container {
 public:
  Container(std::string directory_of_criu, bool busy) : path_(std::move(directory_of_criu)), busy_(busy) {
    if (busy) {
      const std::string root = bundle_.file("");
      e2e::run({"/bin/sh", "-c", "cd '" + root + "' && mkdir usr && ln -s usr/lib usr/lib64 ."});
      bundle_.configure(kRedis);
    } else {
      bundle_.configure(e2e::RuncContainer::command("while :; do read -r line </dev/null; sleep 1000; done"));
    }
  }

  void start() const {
    const e2e::Outcome started = bundle_.start();
    if (!started.ok()) {
      throw error("cannot start a container: {}", started.words());
    }
    if (busy_) {
      fill();
    }
  }

  [[nodiscard]] double checkpoint() const {
    return runc({"checkpoint", "--image-path", images(), "--work-path", bundle_.state / "work"});
  }

  [[nodiscard]] double restore() const {
    return runc({"restore", "--detach", "--image-path", images(), "--work-path", bundle_.state / "work",
                 "--bundle", bundle_.bundle.path()});
  }

  void remove() const { static_cast<void>(bundle_.runc("delete --force " + bundle_.name)); }
  void remove_images() const { e2e::run({"/bin/rm", "-rf", images()}); }

  /// The writable private memory of the container's first process.
  [[nodiscard]] std::vector<Region> memory() const {
    const std::string state =
        e2e::try_read(bundle_.state / ("runc/" + bundle_.name + "/state.json")).value_or("");
    const size_t at = state.find("\"init_process_pid\":");
    const pid_t pid = at == std::string::npos ? 0 : std::atoi(state.c_str() + at + 19);
    std::vector<Region> regions;
    const std::string smaps = e2e::try_read("/proc/" + std::to_string(pid) + "/smaps").value_or("");
    for (const e2e::SmapsEntry& mapping : e2e::parse_smaps(smaps)) {
      if (mapping.permissions == "rw-p" && mapping.inode == 0) {
        regions.push_back({pid, mapping.start, mapping.end - mapping.start});
      }
    }
    return regions;
  }

 private:
  [[nodiscard]] std::string images() const { return bundle_.state / "images"; }

  [[nodiscard]] double runc(std::vector<std::string> arguments) const {
    // runc looks for criu in PATH.
    setenv("PATH", (path_ + ":/usr/sbin:/usr/bin:/sbin:/bin").c_str(), 1);
    arguments.insert(arguments.begin(), {"/usr/sbin/runc", "--root", bundle_.state / "runc"});
    arguments.push_back(bundle_.name);
    return time_command(arguments);
  }

  void fill() const {
    const std::string script =
        "for i = 1, " + std::to_string(kMegabytes) +
        " do redis.call('set', i, string.rep(string.format('%016d', i * 7919), 65536)) end return 'done'";
    e2e::Outcome filled;
    const bool done = e2e::wait_until([&] {
      filled = bundle_.exec("/usr/bin/redis-cli -s /tmp/redis eval \"" + script + "\" 0");
      return filled.output.find("done") != std::string::npos;
    });
    if (!done) {
      throw error("cannot fill redis: {}", filled.words());
    }
  }

  e2e::RuncContainer bundle_;
  std::string path_;
  bool busy_;
};

std::string directory_of(const std::string& program) {
  return program.substr(0, program.rfind('/'));
}

}  // namespace

std::string measure_runc(bool busy, int rounds, const std::function<void(int round)>& on_round) {
  const Container ours(directory_of(CRIU_BINARY), busy);
  const Container idle(directory_of(IDLE_CRIU), false);
  const e2e::TemporaryDirectory directory;
  Samples checkpoint, restore, idle_checkpoint, idle_restore, copy_out_took;
  ours.start();
  for (int round = 0; round <= rounds; ++round) {
    const auto note = [&](Samples& samples, double took) {
      if (round > 0) {
        samples.add(took);
      }
    };
    idle.start();
    note(idle_checkpoint, idle.checkpoint());
    note(idle_restore, idle.restore());
    idle.remove();
    if (busy) {
      const std::string copy = directory / "copy";
      note(copy_out_took, copy_out(ours.memory(), copy));
      unlink(copy.c_str());
    }
    note(checkpoint, ours.checkpoint());
    note(restore, ours.restore());
    ours.remove_images();
    on_round(round);
  }
  const char* what = busy ? "redis with 1 GB in runc" : "an idle shell in runc";
  const auto row = [&](const char* name, const Samples& took, const Samples& limit, const char* wanted) {
    const double more = took.median() - limit.median();
    const std::string copying =
        busy ? fmt::format(", copying {}", ms(copy_out_took.median())) : std::string();
    return fmt::format("| {}, {} | {} | idle criu {}{} | + {} |  | {} |\n", what, name, ms(took.median()),
                       ms(limit.median()), copying, ms(more), busy ? "" : wanted);
  };
  return row("checkpoint", checkpoint, idle_checkpoint, "+ 15 ms") +
         row("restore", restore, idle_restore, "+ 20 ms");
}

}  // namespace godwit::bench

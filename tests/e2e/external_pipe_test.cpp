// Pipes whose other end is outside the tree.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernel/error.h"
#include "kernel/fd.h"
#include "tests/e2e/proc.h"
#include "tests/e2e/round_trip.h"

namespace godwit::e2e {

namespace {

struct Pipe {
  Fd out;
  Fd in;

  Pipe() {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) {
      throw errno_error("cannot make a pipe");
    }
    out = Fd(ends[0]);
    in = Fd(ends[1]);
  }
  [[nodiscard]] std::string external(const char* name) const {
    struct stat status {};
    ::fstat(out ? out.get() : in.get(), &status);
    return fmt::format("pipe[{}]:{}", status.st_ino, name);
  }
};

std::string path_of(const Fd& fd) {
  return fmt::format("/proc/{}/fd/{}", ::getpid(), fd.get());
}

/// A shell whose standard input and output are pipes of the test's.
class ExternalPipe : public testing::Test {
 protected:
  ExternalPipe() {
    LaunchOptions options;
    options.in_child = [this] {
      ::dup2(in_.out.get(), 0);
      ::dup2(out_.in.get(), 1);
    };
    // The second echo goes through another description of the same pipe.
    shell_ =
        launch({"/bin/sh", "-c", "exec 5>/proc/self/fd/1; while read l; do echo got $l; echo too >&5; done"},
               options);
    in_.out.reset();
    out_.in.reset();
  }

  static std::string ask(const Pipe& to, const Pipe& from, const std::string& word) {
    const std::string line = word + "\n";
    EXPECT_EQ(::write(to.in.get(), line.data(), line.size()), static_cast<ssize_t>(line.size()));
    std::string answer;
    char c = 0;
    for (int lines = 0; lines < 2 && ::read(from.out.get(), &c, 1) == 1;) {
      answer += c;
      lines += c == '\n' ? 1 : 0;
    }
    return answer;
  }

  Reaper reaper_;
  Pipe in_;
  Pipe out_;
  pid_t shell_ = 0;
  TemporaryDirectory images_;
};

TEST_F(ExternalPipe, IsRefusedUnlessItIsNamed) {
  EXPECT_EQ(ask(in_, out_, "one"), "got one\ntoo\n");
  const Outcome dumped = dump(shell_, images_ / "1");
  EXPECT_EQ(dumped.exit_code, 1);
  EXPECT_NE(dumped.output.find("--external pipe["), std::string::npos) << dumped.words();
  EXPECT_EQ(ask(in_, out_, "two"), "got two\ntoo\n");
}

TEST_F(ExternalPipe, IsHandedOver) {
  EXPECT_EQ(ask(in_, out_, "one"), "got one\ntoo\n");
  const Outcome dumped =
      dump(shell_, images_ / "1", {"--external", in_.external("in"), "--external", out_.external("out")});
  ASSERT_TRUE(dumped.ok()) << dumped.words();

  Pipe in;
  Pipe out;
  const std::string in_path = "in=" + path_of(in.out);
  const Restored without = restore(images_ / "1", {"--external", in_path});
  EXPECT_EQ(without.outcome.exit_code, 1);
  EXPECT_NE(without.outcome.output.find("under the name out"), std::string::npos) << without.outcome.words();

  const Restored restored =
      restore(images_ / "1", {"--external", in_path, "--external", "out=" + path_of(out.in)});
  ASSERT_TRUE(restored.outcome.ok()) << restored.outcome.words();
  EXPECT_EQ(ask(in, out, "two"), "got two\ntoo\n");
  in.out.reset();
  in.in.reset();
  EXPECT_EQ(wait_for_end(restored.root), 0) << "the end of its input ends it";
}

}  // namespace

}  // namespace godwit::e2e

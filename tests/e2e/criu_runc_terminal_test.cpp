// A container of runc's with a terminal, whose master runc hands over to whoever listens at its console
// socket.
#include <gtest/gtest.h>
#include <sys/ioctl.h>

#include <optional>

#include "tests/e2e/console_socket.h"
#include "tests/e2e/conversation.h"
#include "tests/e2e/proc.h"
#include "tests/e2e/runc_container.h"

namespace godwit::e2e {
namespace {

class RuncTerminal : public testing::Test {
 protected:
  void start() {
    container_.configure("c['process']['terminal'] = True; c['process']['args'] = ['/bin/sh']");
    const ConsoleSocket console(container_.state / "console");
    const Outcome started = container_.start(console.option());
    ASSERT_TRUE(started.ok()) << started.words();
    terminal_.emplace(console.receive());
    ASSERT_TRUE(terminal_->expect("# ")) << terminal_->seen();
  }

  void checkpoint_and_restore() {
    const Outcome dumped = container_.checkpoint();
    ASSERT_TRUE(dumped.ok()) << dumped.words();
    terminal_.reset();
    const ConsoleSocket console(container_.state / "console");
    const Outcome restored = container_.restore(console.option());
    ASSERT_TRUE(restored.ok()) << restored.words();
    terminal_.emplace(console.receive());
  }

  /// The answer to a line differs from the line, which is echoed.
  bool answers(const std::string& line, const std::string& answer) {
    terminal_->type(line + "\n");
    return terminal_->expect(answer);
  }

  Reaper reaper_;
  RuncContainer container_;
  std::optional<Conversation> terminal_;
};

TEST_F(RuncTerminal, AnInteractiveShellThreeTimes) {
  ASSERT_NO_FATAL_FAILURE(start());
  const winsize size{33, 99, 0, 0};
  ASSERT_EQ(ioctl(terminal_->master(), TIOCSWINSZ, &size), 0);
  ASSERT_TRUE(answers("x=41; echo is $((x))", "is 41")) << terminal_->seen();
  ASSERT_TRUE(terminal_->expect("# "));
  for (int round = 0; round < 3; ++round) {
    ASSERT_NO_FATAL_FAILURE(checkpoint_and_restore());
    EXPECT_TRUE(answers("x=$((x + 1)); echo is $((x))", "is " + std::to_string(42 + round)))
        << terminal_->seen();
    EXPECT_TRUE(answers("stty size", "33 99")) << terminal_->seen();
    EXPECT_TRUE(answers("echo via $((6 * 7)) >/dev/tty", "via 42")) << terminal_->seen();
    EXPECT_TRUE(terminal_->expect("# "));
  }
}

/// The foreground group isn't the shell's, and gets what the keys send.
TEST_F(RuncTerminal, AForegroundJob) {
  ASSERT_NO_FATAL_FAILURE(start());
  terminal_->type("stty -echo; echo ready $((40 + 2)); cat\n");
  ASSERT_TRUE(terminal_->expect("ready 42")) << terminal_->seen();
  terminal_->type("one\n");
  ASSERT_TRUE(terminal_->expect("one")) << terminal_->seen();
  for (int round = 0; round < 2; ++round) {
    ASSERT_NO_FATAL_FAILURE(checkpoint_and_restore());
    terminal_->type("two\n");
    EXPECT_TRUE(terminal_->expect("two")) << terminal_->seen();
    EXPECT_EQ(terminal_->seen().find("two"), terminal_->seen().rfind("two")) << "there is no echo";
  }
  terminal_->type("\x03");
  ASSERT_TRUE(terminal_->expect("# ")) << terminal_->seen();  // the prompt drops what was typed before it
  EXPECT_TRUE(answers("echo again $((40 + 2))", "again 42")) << terminal_->seen();
}

}  // namespace
}  // namespace godwit::e2e

// Requests, command lines and files of options are read by the table of the front end's options. (That it has
// all that clients can send, and that the documents say the same, the build finds out.)

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

#include "compat/command_line.h"
#include "compat/options.h"
#include "compat/outside.h"
#include "compat/rpc_options.h"
#include "kernel/error.h"
#include "kernel/log.h"

namespace godwit::compat {
namespace {

std::string message_of(const Asked& asked) {
  try {
    asked.judge();
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

TEST(CriuOptions, EachSaysWhatBecomesOfIt) {
  for (const Option& option : option_table()) {
    EXPECT_FALSE(option.remark.empty()) << option.title();
    EXPECT_EQ(option.apply != nullptr, option.effect == Effect::Honoured) << option.title();
    EXPECT_FALSE(option.title().empty());
  }
}

/// What it takes for the option to be asked for.
std::string some_value(const Option& option) {
  return option.takes == Takes::Flag ? "1" : "something";
}

TEST(CriuOptions, WhatIsRefusedIsRefusedByName) {
  for (const Option& option : option_table()) {
    if (option.effect != Effect::Refused) {
      continue;
    }
    Asked asked;
    asked.set(option, some_value(option));
    EXPECT_NE(message_of(asked).find(fmt::format("option {} isn't supported", option.title())),
              std::string::npos)
        << message_of(asked);
    Asked not_asked;
    not_asked.set(option, option.takes == Takes::Flag ? "0" : "");
    EXPECT_EQ(message_of(not_asked), "") << option.title();
  }
}

TEST(CriuOptions, WhatHasNoEffectIsAcceptedWithAWarning) {
  static std::vector<std::string> lines;
  log::set_sink([](log::Level, std::string_view text) { lines.emplace_back(text); }, log::Level::Warning);
  for (const Option& option : option_table()) {
    if (option.effect != Effect::NoEffect) {
      continue;
    }
    lines.clear();
    Asked asked;
    asked.set(option, some_value(option));
    EXPECT_EQ(message_of(asked), "") << option.title();
    EXPECT_EQ(lines, std::vector<std::string>{
                         fmt::format("option {} has no effect: {}", option.title(), option.remark)});
  }
  log::set_sink(nullptr, log::Level::Error);
}

TEST(CriuOptions, OnlyWhatIsInAnyCaseIsAcceptedOfContainers) {
  const auto verdict = [](const char* field, const std::string& value) {
    Asked asked;
    asked.set(*find_field(field), value);
    return message_of(asked);
  };
  EXPECT_EQ(verdict("empty_ns", "0"), "");
  EXPECT_EQ(verdict("empty_ns", "1073741824"), "");
  EXPECT_NE(verdict("empty_ns", "536870912").find("option empty-ns"), std::string::npos);
  EXPECT_EQ(verdict("lsm_profile", "apparmor:unconfined"), "");
  EXPECT_EQ(verdict("lsm_profile", "smack:unconfined"), "");
  // Nothing labels processes where even one's own label can't be read.
  std::ifstream label("/proc/self/attr/current");
  const bool labelled = label.get() != std::ifstream::traits_type::eof();
  EXPECT_EQ(verdict("lsm_profile", "smack:other").find("option lsm-profile") != std::string::npos, labelled);
  EXPECT_EQ(verdict("cg_root", "memory:/not/here"), "");
}

TEST(CriuOptions, FieldsOfARequest) {
  rpc::Options options;
  options.set_images_dir_fd(7);
  options.set_work_dir_fd(-1);
  options.set_pid(41);
  options.set_leave_running(true);
  options.set_shell_job(false);
  options.set_log_level(4);
  options.add_exec_cmd("ls");
  options.add_exec_cmd("-l");
  Asked asked;
  read_options(options, 99, asked);
  EXPECT_EQ(message_of(asked), "");
  EXPECT_EQ(asked.settings.images_dir, "/proc/99/fd/7");
  EXPECT_EQ(asked.settings.work_dir, "");
  EXPECT_EQ(asked.settings.pid, 41);
  EXPECT_TRUE(asked.settings.leave_running);
  EXPECT_FALSE(asked.settings.shell_job);
  EXPECT_EQ(asked.settings.log_level, 4);
  EXPECT_EQ(asked.settings.exec_cmd, (std::vector<std::string>{"ls", "-l"}));
}

TEST(CriuOptions, RefusedFieldsAreNamed) {
  rpc::Options options;
  options.set_images_dir_fd(7);
  options.set_lazy_pages(true);
  options.set_empty_ns(0x20000000);
  options.mutable_ps()->set_port(1);
  options.add_cgroup_dump_controller("cpu");
  options.add_cgroup_dump_controller("memory");
  options.set_tls(false);
  options.GetReflection()->MutableUnknownFields(&options)->AddVarint(1234, 1);
  Asked asked;
  read_options(options, 99, asked);
  const std::string message = message_of(asked);
  for (const char* part : {"lazy-pages", "empty-ns", "option ps ", "option 1234", "('cpu', 'memory')"}) {
    EXPECT_NE(message.find(part), std::string::npos) << part << " in " << message;
  }
  EXPECT_EQ(message.find("tls"), std::string::npos) << message;
}

/// Also a flag that has a value on the command line.
TEST(CriuOptions, WhatIsOffOrEmptyIsNotAsked) {
  static std::vector<std::string> lines;
  log::set_sink([](log::Level, std::string_view text) { lines.emplace_back(text); }, log::Level::Warning);
  rpc::Options options;
  options.set_images_dir_fd(7);
  options.set_ext_unix_sk(false);
  options.set_tcp_established(false);
  options.set_parent_img("");
  options.set_lsm_profile("");
  options.set_empty_ns(0);
  Asked asked;
  read_options(options, 99, asked);
  EXPECT_EQ(message_of(asked), "");
  EXPECT_TRUE(lines.empty()) << lines.front();
  log::set_sink(nullptr, log::Level::Error);
}

TEST(CriuOptions, MountsFromOutside) {
  rpc::Options options;
  options.set_images_dir_fd(7);
  auto* mount = options.add_ext_mnt();
  mount->set_key("/data:old");
  mount->set_val("data:old");
  Asked by_rpc;
  read_options(options, 99, by_rpc);
  DumpOptions dump;
  set_outside(by_rpc.settings, dump);
  EXPECT_EQ(dump.mounts.external.at("/data:old"), "data:old");
  EXPECT_EQ(outside_paths(by_rpc.settings).at("/data:old"), "data:old");

  Asked by_command_line;
  static_cast<void>(read_command_line({"-M", "data:/srv/a:b", "--ext-mount-map", "auto"}, by_command_line));
  EXPECT_EQ(message_of(by_command_line), "");
  const std::map<std::string, std::string> expected{{"data", "/srv/a:b"}};
  EXPECT_EQ(outside_paths(by_command_line.settings), expected);
}

TEST(CriuOptions, ACommandLine) {
  Asked asked;
  const std::vector<std::string> words = read_command_line(
      {"restore", "-vvvv", "-D", "images", "--work-dir=work", "-o", "log", "-d", "--restore-sib",
       "--no-restore-sibling", "--pidfile", "pid", "--exec-cmd", "--", "ls", "-l"},
      asked);
  EXPECT_EQ(words, (std::vector<std::string>{"restore"}));
  EXPECT_EQ(asked.settings.log_level, 4);
  EXPECT_EQ(asked.settings.images_dir, "images");
  EXPECT_EQ(asked.settings.work_dir, "work");
  EXPECT_EQ(asked.settings.log_file, "log");
  EXPECT_TRUE(asked.settings.detach);
  EXPECT_FALSE(asked.settings.sibling);
  EXPECT_EQ(asked.settings.pidfile, "pid");
  EXPECT_EQ(asked.settings.exec_cmd, (std::vector<std::string>{"ls", "-l"}));
}

TEST(CriuOptions, Verbosity) {
  const auto level = [](const std::string& option) {
    Asked asked;
    static_cast<void>(read_command_line({option}, asked));
    return asked.settings.log_level;
  };
  EXPECT_EQ(level("-v"), 1);
  EXPECT_EQ(level("-vvv"), 3);
  EXPECT_EQ(level("-v4"), 4);
  EXPECT_EQ(level("-v0"), 1) << "0 would stand for not asked";
  EXPECT_EQ(level("--verbosity=2"), 2);
}

TEST(CriuOptions, WrongUsage) {
  Asked asked;
  EXPECT_THROW(static_cast<void>(read_command_line({"--warp"}, asked)), UsageError);
  EXPECT_THROW(static_cast<void>(read_command_line({"--tree"}, asked)), UsageError);
  EXPECT_THROW(static_cast<void>(read_command_line({"restore", "--exec-cmd"}, asked)), UsageError);
  static_cast<void>(read_command_line({"--tree", "many"}, asked));
  EXPECT_NE(message_of(asked).find("option tree"), std::string::npos);
}

TEST(CriuOptions, AFileOfOptions) {
  const std::string path = testing::TempDir() + "criu_options_test." + std::to_string(::getpid());
  std::ofstream(path)
      << "# a comment\n\n  leave-running  # here too\naction-script \"a \\\"b\\\" #c\"\npidfile x\n";
  Asked asked;
  read_config_file(path, asked);
  EXPECT_TRUE(asked.settings.leave_running);
  EXPECT_EQ(asked.settings.action_scripts, (std::vector<std::string>{"a \"b\" #c"}));
  EXPECT_EQ(asked.settings.pidfile, "x");
  for (const char* wrong : {"warp 9\n", "leave-running false\n", "action-script a b\n"}) {
    std::ofstream(path) << wrong;
    EXPECT_THROW(read_config_file(path, asked), Error) << wrong;
  }
  ::unlink(path.c_str());
  EXPECT_THROW(read_config_file(path, asked), Error);
}

}  // namespace
}  // namespace godwit::compat

// The table of the front end's options: that it has all that clients can send, that docs/criu.md says the
// same, and that requests, command lines and files of options are read by it.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <set>
#include <sstream>

#include "compat/command_line.h"
#include "compat/options.h"
#include "compat/rpc_options.h"
#include "kernel/error.h"

namespace godwit::compat {
namespace {

/// What clients use in the field.
constexpr const char* kCommandLine[] = {"tree",
                                        "images-dir",
                                        "work-dir",
                                        "log-file",
                                        "verbosity",
                                        "pidfile",
                                        "restore-detached",
                                        "restore-sibling",
                                        "leave-stopped",
                                        "leave-running",
                                        "shell-job",
                                        "file-locks",
                                        "root",
                                        "join-ns",
                                        "libdir",
                                        "action-script",
                                        "external",
                                        "ext-unix-sk",
                                        "ext-mount-map",
                                        "enable-external-sharing",
                                        "enable-external-masters",
                                        "skip-mnt",
                                        "enable-fs",
                                        "inherit-fd",
                                        "empty-ns",
                                        "tcp-established",
                                        "skip-in-flight",
                                        "tcp-close",
                                        "evasive-devices",
                                        "link-remap",
                                        "ghost-limit",
                                        "force-irmap",
                                        "irmap-scan-path",
                                        "manage-cgroups",
                                        "cgroup-root",
                                        "cgroup-props",
                                        "cgroup-props-file",
                                        "cgroup-dump-controller",
                                        "freeze-cgroup",
                                        "timeout",
                                        "track-mem",
                                        "prev-images-dir",
                                        "auto-dedup",
                                        "page-server",
                                        "address",
                                        "port",
                                        "status-fd",
                                        "ps-socket",
                                        "lazy-pages",
                                        "tls",
                                        "tls-cacert",
                                        "tls-cacrl",
                                        "tls-cert",
                                        "tls-key",
                                        "tls-no-cn-verify",
                                        "weak-sysctls",
                                        "network-lock",
                                        "unprivileged",
                                        "lsm-profile",
                                        "lsm-mount-context",
                                        "mntns-compat-mode",
                                        "pre-dump-mode",
                                        "file-validation",
                                        "skip-file-rwx-check",
                                        "cpu-cap",
                                        "exec-cmd",
                                        "display-stats",
                                        "config",
                                        "no-default-config",
                                        "feature"};

std::string effect_name(Effect effect) {
  return effect == Effect::Honoured ? "honoured" : effect == Effect::NoEffect ? "no effect" : "refused";
}

std::string row(const Option& option) {
  const std::string name = option.name.empty() ? "" : fmt::format("`--{}`", option.name);
  const std::string letter = option.letter == 0 ? "" : fmt::format(", `-{}`", option.letter);
  const std::string field = option.field.empty() ? "" : fmt::format("`{}`", option.field);
  return fmt::format("| {}{} | {} | {} | {} |", name, letter, field, effect_name(option.effect),
                     option.remark);
}

std::string message_of(const Asked& asked) {
  try {
    asked.judge();
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

TEST(CriuOptions, TheTableHasEveryFieldOfTheRequest) {
  const auto* descriptor = rpc::Options::descriptor();
  std::set<std::string> fields;
  for (int i = 0; i < descriptor->field_count(); ++i) {
    fields.insert(descriptor->field(i)->name());
    EXPECT_NE(find_field(descriptor->field(i)->name()), nullptr) << descriptor->field(i)->name();
  }
  for (const Option& option : option_table()) {
    EXPECT_TRUE(option.field.empty() || fields.contains(std::string(option.field))) << option.field;
  }
}

TEST(CriuOptions, TheTableHasEveryOptionOfTheCommandLine) {
  for (const char* name : kCommandLine) {
    EXPECT_NE(find_option(name), nullptr) << name;
  }
}

TEST(CriuOptions, EachSaysWhatBecomesOfIt) {
  for (const Option& option : option_table()) {
    EXPECT_FALSE(option.remark.empty()) << option.title();
    EXPECT_EQ(option.apply != nullptr, option.effect == Effect::Honoured) << option.title();
    EXPECT_FALSE(option.title().empty());
  }
}

TEST(CriuOptions, TheDocumentHasTheSameTable) {
  std::ifstream file(SOURCE_DIR "/docs/criu.md");
  std::stringstream content;
  content << file.rdbuf();
  std::string rows;
  for (const Option& option : option_table()) {
    rows += row(option) + "\n";
  }
  EXPECT_NE(content.str().find(rows), std::string::npos) << "docs/criu.md should have these rows:\n" << rows;
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
  auto* inherit = options.add_inherit_fd();
  inherit->set_key("pipe:[5]");
  inherit->set_fd(3);
  auto* root = options.add_cg_root();
  root->set_path("/a");
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
  EXPECT_EQ(asked.settings.inherit_fds, (std::vector<std::string>{"fd[3]:pipe:[5]"}));
  EXPECT_EQ(asked.settings.cgroup_roots, (std::vector<std::string>{"/a"}));
}

TEST(CriuOptions, RefusedFieldsAreNamed) {
  rpc::Options options;
  options.set_images_dir_fd(7);
  options.set_lazy_pages(true);
  options.set_empty_ns(0x20000000);
  options.mutable_ps()->set_port(1);
  options.set_lsm_profile("apparmor:docker-default");
  options.set_tls(false);
  options.GetReflection()->MutableUnknownFields(&options)->AddVarint(1234, 1);
  Asked asked;
  read_options(options, 99, asked);
  const std::string message = message_of(asked);
  for (const char* part : {"lazy-pages", "empty-ns", "option ps ", "lsm-profile", "option 1234"}) {
    EXPECT_NE(message.find(part), std::string::npos) << part << " in " << message;
  }
  EXPECT_EQ(message.find("tls"), std::string::npos) << message;
}

TEST(CriuOptions, EmptyValuesAreNotAsked) {
  rpc::Options options;
  options.set_images_dir_fd(7);
  options.set_parent_img("");
  options.set_lsm_profile("");
  options.set_empty_ns(0);
  Asked asked;
  read_options(options, 99, asked);
  EXPECT_EQ(message_of(asked), "");
}

TEST(CriuOptions, ACommandLine) {
  Asked asked;
  const CommandLine line = read_command_line(
      {"restore", "-vvvv", "-D", "images", "--work-dir=work", "-o", "log", "-d", "--restore-sib",
       "--no-restore-sibling", "--pidfile", "pid", "--exec-cmd", "--", "ls", "-l"},
      asked);
  EXPECT_EQ(line.words, (std::vector<std::string>{"restore"}));
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
  std::ofstream(path) << "warp 9\n";
  EXPECT_THROW(read_config_file(path, asked), Error);
  ::unlink(path.c_str());
  EXPECT_THROW(read_config_file(path, asked), Error);
}

}  // namespace
}  // namespace godwit::compat

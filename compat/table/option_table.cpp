// Run by the build: docs/criu-options.md has the rows of the program's own table, which must have every
// option that clients can send. Without arguments it prints the document; with its path it compares.
#include <cstdio>
#include <string>

#include "compat/options.h"
#include "compat/rpc.pb.h"
#include "kernel/error.h"
#include "kernel/fd.h"

namespace godwit::compat {

namespace {

/// The command line's, as clients use it.
constexpr std::string_view kCommandLine[] = {
    "action-script",
    "address",
    "auto-dedup",
    "cgroup-dump-controller",
    "cgroup-props",
    "cgroup-props-file",
    "cgroup-root",
    "config",
    "cpu-cap",
    "display-stats",
    "empty-ns",
    "enable-external-masters",
    "enable-external-sharing",
    "enable-fs",
    "evasive-devices",
    "exec-cmd",
    "ext-mount-map",
    "ext-unix-sk",
    "external",
    "feature",
    "file-locks",
    "file-validation",
    "force-irmap",
    "freeze-cgroup",
    "ghost-limit",
    "images-dir",
    "inherit-fd",
    "irmap-scan-path",
    "join-ns",
    "lazy-pages",
    "leave-running",
    "leave-stopped",
    "libdir",
    "link-remap",
    "log-file",
    "lsm-mount-context",
    "lsm-profile",
    "manage-cgroups",
    "mntns-compat-mode",
    "network-lock",
    "no-default-config",
    "page-server",
    "pidfile",
    "port",
    "pre-dump-mode",
    "prev-images-dir",
    "ps-socket",
    "restore-detached",
    "restore-sibling",
    "root",
    "shell-job",
    "skip-file-rwx-check",
    "skip-in-flight",
    "skip-mnt",
    "status-fd",
    "tcp-close",
    "tcp-established",
    "timeout",
    "tls",
    "tls-cacert",
    "tls-cacrl",
    "tls-cert",
    "tls-key",
    "tls-no-cn-verify",
    "track-mem",
    "tree",
    "unprivileged",
    "verbosity",
    "version",
    "weak-sysctls",
    "work-dir",
};

constexpr std::string_view kHead =
    "# Options of the criu front end\n\n"
    "Written by the build's `option_table` from the table that the program itself reads options by "
    "(`compat/options.cpp`). Each option is honoured; or accepted with a warning in the log, since the "
    "result "
    "is the same with and without it; or refused by name, since the result would be another. A flag has a "
    "form "
    "with `--no-` in front; a field that is false or empty isn't asked for. Fields that aren't here are "
    "refused "
    "by number.\n\n"
    "| option | field | what becomes of it | |\n"
    "| --- | --- | --- | --- |\n";

std::string_view effect_name(Effect effect) {
  switch (effect) {
    case Effect::Honoured:
      return "honoured";
    case Effect::NoEffect:
      return "no effect";
    case Effect::Refused:
      return "refused";
  }
  return "";
}

std::string document() {
  std::string text(kHead);
  for (const Option& option : option_table()) {
    const std::string name = option.name.empty() ? "" : fmt::format("`--{}`", option.name);
    const std::string letter = option.letter == 0 ? "" : fmt::format(", `-{}`", option.letter);
    const std::string field = option.field.empty() ? "" : fmt::format("`{}`", option.field);
    text += fmt::format("| {}{} | {} | {} | {} |\n", name, letter, field, effect_name(option.effect),
                        option.remark);
  }
  return text;
}

std::string missing_options() {
  std::string missing;
  const auto* request = rpc::Options::descriptor();
  for (int i = 0; i < request->field_count(); ++i) {
    if (find_field(request->field(i)->name()) == nullptr) {
      missing += " " + request->field(i)->name();
    }
  }
  for (const std::string_view name : kCommandLine) {
    if (find_option(name) == nullptr) {
      missing += fmt::format(" --{}", name);
    }
  }
  return missing;
}

int run(const char* path) {
  if (const std::string missing = missing_options(); !missing.empty()) {
    throw error("compat/options.cpp lacks{}", missing);
  }
  const std::string text = document();
  if (path == nullptr) {
    std::fputs(text.c_str(), stdout);
  } else if (read_file(path) != text) {
    throw error("{} isn't that of compat/options.cpp; 'build/option_table >docs/criu-options.md' mends that",
                path);
  }
  return 0;
}

}  // namespace

}  // namespace godwit::compat

int main(int argc, char** argv) {
  try {
    return godwit::compat::run(argc > 1 ? argv[1] : nullptr);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "option_table: %s\n", e.what());
  }
  return 1;
}

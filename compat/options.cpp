#include "compat/options.h"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>

#include "kernel/error.h"
#include "kernel/fd.h"
#include "kernel/log.h"

namespace godwit::compat {

namespace {

using Text = const std::string&;

template <bool Settings::*Member>
void flag(Settings& settings, Text value) {
  settings.*Member = value == "1";
}

template <std::string Settings::*Member>
void text(Settings& settings, Text value) {
  settings.*Member = value;
}

template <std::vector<std::string> Settings::*Member>
void more(Settings& settings, Text value) {
  (settings.*Member).push_back(value);
}

template <int Settings::*Member>
void number(Settings& settings, Text value) {
  int parsed = 0;
  const auto [end, failed] = std::from_chars(value.data(), value.data() + value.size(), parsed);
  if (failed != std::errc() || end != value.data() + value.size() || parsed < 0) {
    throw error("'{}' isn't a number that it takes", value);
  }
  settings.*Member = parsed;
}

/// Errors are always logged: clients show them.
void log_level(Settings& settings, Text value) {
  number<&Settings::log_level>(settings, value);
  settings.log_level = std::max(settings.log_level, 1);
}

/// -v, -vvv (as one word), -v4.
void verbosity(Settings& settings, Text value) {
  if (value.find_first_not_of('v') == std::string::npos) {
    settings.log_level += static_cast<int>(value.size()) + 1;
  } else {
    log_level(settings, value);
  }
}

/// KEY:VALUE, as the command line has it: only VALUE may have colons. "auto" asks that mounts from outside be
/// found, which they are in any case.
void external_mount(Settings& settings, Text value) {
  const size_t colon = value.find(':');
  if (value.substr(0, colon) != "auto") {
    settings.external_mounts.push_back(
        {value.substr(0, colon), colon == std::string::npos ? "" : value.substr(colon + 1)});
  }
}

/// IN=OUT@BRIDGE is another way to say veth[IN]:OUT@BRIDGE.
void veth_pair(Settings& settings, Text value) {
  const size_t equals = value.find('=');
  if (equals == 0 || equals == std::string::npos || equals + 1 == value.size()) {
    throw error("'{}' isn't IN=OUT", value);
  }
  settings.external.push_back(fmt::format("veth[{}]:{}", value.substr(0, equals), value.substr(equals + 1)));
}

void log_file(Settings& settings, Text value) {
  settings.log_file = value == "-" ? "" : value;
}

/// Whether processes have labels here. Without a security module that gives them any, reading one is an
/// error: proc_pid_attr(5).
bool has_security_labels() {
  const Fd label(::open("/proc/self/attr/current", O_RDONLY | O_CLOEXEC));
  char first = 0;
  return !(label ? ::read(label.get(), &first, 1) < 0 && errno == EINVAL : errno == ENOENT);
}

void lsm_profile(Settings&, Text value) {
  if (!value.ends_with(":unconfined") && has_security_labels()) {
    throw error("profile '{}'", value);
  }
}

/// Numbers of the RPC's enumeration, or names on the command line.
void network_lock(Settings& settings, Text value) {
  if (value == "3" || value == "skip") {
    settings.network_lock = NetworkLock::Skip;
  } else if (value != "1" && value != "iptables" && value != "2" && value != "nftables") {
    throw error("'{}' isn't iptables, nftables or skip", value);
  }
}

/// Flags of clone(2) in requests, names on the command line.
void empty_namespaces(Settings& settings, Text value) {
  if (value == "net" || value == std::to_string(CLONE_NEWNET)) {
    settings.empty_network = true;
  } else if (value != "0") {
    throw error("namespace '{}'", value);
  }
}

constexpr Takes kValue = Takes::Value;
constexpr Takes kFlag = Takes::Flag;
constexpr Effect kHonoured = Effect::Honoured;
constexpr Effect kNoEffect = Effect::NoEffect;
constexpr Effect kRefused = Effect::Refused;

constexpr std::string_view kSlaves = "mounts from outside become slaves of those, as they were";
constexpr std::string_view kNoPageServer = "pages are never sent to another machine";

constexpr Option kTable[] = {
    // Where.
    {"images_dir_fd", "", 0, kValue, kHonoured, "directory of the images, as the client's descriptor",
     text<&Settings::images_dir>},
    {"images_dir", "images-dir", 'D', kValue, kHonoured, "directory of the images",
     text<&Settings::images_dir>},
    {"work_dir_fd", "", 0, kValue, kHonoured, "as --work-dir, as the client's descriptor",
     text<&Settings::work_dir>},
    {"", "work-dir", 'W', kValue, kHonoured,
     "directory of logs, statistics and pid files; else that of the images", text<&Settings::work_dir>},
    {"log_file", "log-file", 'o', kValue, kHonoured, "log, relative to the work directory; - is stderr",
     log_file},
    {"log_level", "", 0, kValue, kHonoured, "0, 1 errors, 2 warnings, 3 what is done, 4 every step",
     log_level},
    {"", "verbosity", 'v', Takes::OptionalValue, kHonoured, "as log_level; each v counts one", verbosity},
    {"log_to_stderr", "", 0, kFlag, kHonoured, "log lines go to stderr instead of the log",
     flag<&Settings::log_to_stderr>},
    {"display_stats", "display-stats", 0, kFlag, kHonoured, "prints the statistics",
     flag<&Settings::display_stats>},
    {"status_fd", "status-fd", 0, kValue, kHonoured, "gets a zero byte when the service listens",
     text<&Settings::status_fd>},
    {"", "pidfile", 0, kValue, kHonoured, "the pid of the restored root, or of the service",
     text<&Settings::pidfile>},
    {"config_file", "config", 0, kValue, kHonoured, "options from a file", text<&Settings::config_file>},
    {"", "no-default-config", 0, kFlag, kHonoured, "options from the command line alone",
     flag<&Settings::no_default_config>},
    {"", "version", 'V', kFlag, kHonoured, "prints the version", flag<&Settings::version>},
    {"", "help", 'h', kFlag, kHonoured, "prints the commands and the options", flag<&Settings::help>},
    {"", "address", 0, kValue, kHonoured, "path of the service's socket", text<&Settings::address>},
    {"", "daemon", 'd', kFlag, kHonoured, "the service goes on in the background; restore: as -d below",
     flag<&Settings::detach>},
    {"", "feature", 0, kValue, kHonoured, "what check looks for", more<&Settings::features>},

    // The tree.
    {"pid", "tree", 't', kValue, kHonoured, "root of the tree that is dumped", number<&Settings::pid>},
    {"leave_running", "leave-running", 'R', kFlag, kHonoured, "the tree runs on after the dump",
     flag<&Settings::leave_running>},
    {"leave_stopped", "leave-stopped", 's', kFlag, kHonoured, "the tree stays stopped after the dump",
     flag<&Settings::leave_stopped>},
    {"shell_job", "shell-job", 'j', kFlag, kHonoured, "session and terminal are those of who restores",
     flag<&Settings::shell_job>},
    {"notify_scripts", "", 0, kFlag, kHonoured, "notifications by RPC", flag<&Settings::notify>},
    {"", "action-script", 0, kValue, kHonoured, "run at each of these moments; may be given more than once",
     more<&Settings::action_scripts>},
    {"rst_sibling", "restore-sibling", 'S', kFlag, kHonoured, "the root becomes a child of our parent",
     flag<&Settings::sibling>},
    {"", "restore-detached", 'd', kFlag, kHonoured, "returns as soon as the tree runs",
     flag<&Settings::detach>},
    {"exec_cmd", "exec-cmd", 0, kFlag, kHonoured, "the restorer becomes this command, the root's parent",
     more<&Settings::exec_cmd>},
    {"timeout", "timeout", 0, kValue, kNoEffect, "freezing takes milliseconds or is given up by itself"},
    {"freeze_cgroup", "freeze-cgroup", 0, kValue, kNoEffect,
     "tasks are frozen one by one; a cgroup that is paused is found anyway"},
    {"unprivileged", "unprivileged", 0, kFlag, kNoEffect, "the privileges that there are are used"},
    {"cpu_cap", "cpu-cap", 0, Takes::OptionalValue, kNoEffect,
     "what the tree has used of the processor is compared in any case"},
    {"pidfd_store_sk", "", 0, kValue, kNoEffect, "tasks are known by pidfd only while a dump lasts"},

    // Files.
    {"file_locks", "file-locks", 'l', kFlag, kNoEffect, "file locks are kept in any case"},
    {"link_remap", "link-remap", 0, kFlag, kNoEffect, "deleted files are kept with their content"},
    {"ghost_limit", "ghost-limit", 0, kValue, kNoEffect, "deleted files of any size are kept"},
    {"evasive_devices", "evasive-devices", 0, kFlag, kNoEffect, "files are opened by their own path"},
    {"force_irmap", "force-irmap", 0, kFlag, kNoEffect, "watches of files are refused"},
    {"irmap_scan_paths", "irmap-scan-path", 0, kValue, kNoEffect, "watches of files are refused"},
    {"", "file-validation", 0, kValue, kNoEffect, "files are compared by size and time in any case"},
    {"skip_file_rwx_check", "skip-file-rwx-check", 0, kFlag, kNoEffect,
     "permissions of files aren't compared"},
    {"inherit_fd", "inherit-fd", 0, kValue, kHonoured,
     "fd[N]:NAME: hands over what was external; refused by a service, whose descriptors are others",
     more<&Settings::inherited>},
    {"orphan_pts_master", "", 0, kFlag, kHonoured,
     "the client gets the master of a new terminal for one whose master is outside the tree",
     flag<&Settings::orphan_terminals>},
    {"external", "external", 0, kValue, kHonoured,
     "mounts (mnt), namespaces (net, ipc, uts, cgroup), pipes; other kinds are refused",
     more<&Settings::external>},
    {"", "libdir", 'L', kValue, kNoEffect, "there are no plug-ins"},

    // Sockets.
    {"ext_unix_sk", "ext-unix-sk", 'x', Takes::OptionalValue, kNoEffect,
     "a socket whose other end is outside is refused in any case"},
    {"unix_sk_ino", "", 0, kValue, kRefused, "a socket whose other end is outside can't be kept"},
    {"tcp_established", "tcp-established", 0, kFlag, kHonoured, "TCP connections are kept",
     flag<&Settings::tcp_established>},
    {"tcp_skip_in_flight", "skip-in-flight", 0, kFlag, kNoEffect,
     "a tree with connections that nobody has accepted is refused"},
    {"tcp_close", "tcp-close", 0, kFlag, kNoEffect,
     "without tcp-established, a tree with TCP connections is refused"},
    {"network_lock", "network-lock", 0, kValue, kHonoured,
     "nftables, iptables (the same), or skip: how packets of TCP connections are dropped while the tree is "
     "away",
     network_lock},

    // Mounts.
    {"root", "root", 'r', kValue, kHonoured, "the root of the tree's mounts, for a restore",
     text<&Settings::root>},
    {"ext_mnt", "ext-mount-map", 'M', kValue, kHonoured,
     "MOUNTPOINT:NAME when dumping, NAME:PATH when restoring; auto: no effect, they are found in any case",
     external_mount},
    {"auto_ext_mnt", "", 0, kFlag, kNoEffect, "mounts from outside are found in any case"},
    {"ext_sharing", "enable-external-sharing", 0, kFlag, kNoEffect,
     "mounts that share with mounts outside are refused"},
    {"ext_masters", "enable-external-masters", 0, kFlag, kNoEffect, kSlaves},
    {"skip_mnt", "skip-mnt", 0, kValue, kHonoured, "a mount that is left out",
     more<&Settings::skipped_mounts>},
    {"enable_fs", "enable-fs", 0, kValue, kHonoured, "file systems of this type are mounted anew",
     more<&Settings::enabled_file_systems>},
    {"mntns_compat_mode", "mntns-compat-mode", 0, kFlag, kNoEffect, "there is one way to restore mounts"},
    {"lsm_mount_context", "lsm-mount-context", 0, kValue, kRefused, "mounts keep the label that they have"},

    // Namespaces.
    {"join_ns", "join-ns", 'J', kValue, kRefused,
     "namespaces from outside are handed over by external and inherit-fd"},
    {"empty_ns", "empty-ns", 0, kValue, kHonoured,
     "net only: of the network namespace nothing is kept but whether its loopback device is up",
     empty_namespaces},
    {"veths", "veth-pair", 0, kValue, kHonoured,
     "IN=OUT or IN=OUT@BRIDGE: the end outside is made when restoring, a port of BRIDGE if that is given",
     veth_pair},
    {"weak_sysctls", "weak-sysctls", 0, kFlag, kNoEffect,
     "of what can't be set, network settings are a warning and limits of ipc a failure in any case"},

    // Cgroups and security modules.
    {"manage_cgroups", "", 0, kFlag, kNoEffect,
     "tasks start in the cgroup of the restorer, or in cgroup-root"},
    {"manage_cgroups_mode", "manage-cgroups", 0, Takes::OptionalValue, kNoEffect,
     "tasks start in the cgroup of the restorer, or in cgroup-root, whatever the mode"},
    {"cg_root", "cgroup-root", 0, kValue, kHonoured,
     "[CONTROLLER:]PATH, in which the tree starts; without it, that of the restorer",
     more<&Settings::cgroup_roots>},
    {"cgroup_props", "cgroup-props", 0, kValue, kRefused, "properties of cgroups aren't kept"},
    {"cgroup_props_file", "cgroup-props-file", 0, kValue, kRefused, "properties of cgroups aren't kept"},
    {"cgroup_dump_controller", "cgroup-dump-controller", 0, kValue, kRefused,
     "properties of cgroups aren't kept"},
    {"cgroup_yard", "cgroup-yard", 0, kValue, kNoEffect, "cgroups are used where they are mounted"},
    {"lsm_profile", "lsm-profile", 0, kValue, kHonoured,
     "unconfined profiles; any where the kernel has no security module that labels processes", lsm_profile},

    // Memory.
    {"track_mem", "track-mem", 0, kFlag, kHonoured,
     "writes are tracked from a dump on that leaves the tree running; from a pre-dump on they always are",
     flag<&Settings::track_mem>},
    {"auto_dedup", "auto-dedup", 0, kFlag, kNoEffect, "older checkpoints are left as they are"},
    {"parent_img", "prev-images-dir", 0, kValue, kHonoured,
     "the checkpoint that has what wasn't written since, as seen from the images' directory",
     text<&Settings::parent>},
    {"pre_dump_mode", "pre-dump-mode", 0, kValue, kNoEffect,
     "memory is always read while the tree runs, without its help"},
    {"lazy_pages", "lazy-pages", 0, kFlag, kRefused, "pages are restored before the tree runs"},
    {"ps", "", 0, kValue, kRefused, kNoPageServer},
    {"", "page-server", 0, kFlag, kRefused, kNoPageServer},
    {"", "port", 0, kValue, kRefused, kNoPageServer},
    {"", "ps-socket", 0, kValue, kRefused, kNoPageServer},
    {"tls", "tls", 0, kFlag, kRefused, kNoPageServer},
    {"tls_cacert", "tls-cacert", 0, kValue, kNoEffect, kNoPageServer},
    {"tls_cacrl", "tls-cacrl", 0, kValue, kNoEffect, kNoPageServer},
    {"tls_cert", "tls-cert", 0, kValue, kNoEffect, kNoPageServer},
    {"tls_key", "tls-key", 0, kValue, kNoEffect, kNoPageServer},
    {"tls_no_cn_verify", "tls-no-cn-verify", 0, kFlag, kNoEffect, kNoPageServer},
};

template <typename Member>
const Option* find(Member member, std::string_view name) {
  const auto* const row = std::find_if(std::begin(kTable), std::end(kTable),
                                       [&](const Option& option) { return option.*member == name; });
  return name.empty() || row == std::end(kTable) ? nullptr : row;
}

}  // namespace

std::span<const Option> option_table() {
  return kTable;
}

const Option* find_field(std::string_view field) {
  return find(&Option::field, field);
}

const Option* find_option(std::string_view name) {
  return find(&Option::name, name);
}

void Asked::set(const Option& option, const std::string& value) {
  if (value.empty() && option.takes == Takes::Value) {
    return;
  }
  if (option.effect == Effect::Honoured) {
    try {
      option.apply(settings, value);
    } catch (const Error& e) {
      refuse(fmt::format("option {}: {} isn't supported", option.title(), e.what()));
    }
    return;
  }
  const bool asked = option.takes == Takes::Flag ? value == "1" : true;
  if (!asked) {
    return;
  }
  if (option.effect == Effect::Refused) {
    refuse(fmt::format("option {} isn't supported: {}", option.title(), option.remark),
           option.takes == Takes::Flag ? "" : value);
  } else {
    warnings_.push_back(fmt::format("option {} has no effect: {}", option.title(), option.remark));
  }
}

void Asked::refuse(const std::string& what, const std::string& value) {
  auto refusal =
      std::find_if(refusals_.begin(), refusals_.end(), [&](const Refusal& r) { return r.what == what; });
  if (refusal == refusals_.end()) {
    refusal = refusals_.insert(refusal, {what, ""});
  }
  if (!value.empty()) {
    refusal->values += fmt::format("{}'{}'", refusal->values.empty() ? "" : ", ", value);
  }
}

void Asked::judge() const {
  for (const std::string& warning : warnings_) {
    log::warning("{}", warning);
  }
  std::string all;
  for (const auto& [what, values] : refusals_) {
    all += (all.empty() ? "" : "; ") + what + (values.empty() ? "" : " (" + values + ")");
  }
  if (!all.empty()) {
    throw error("{}", all);
  }
}

}  // namespace godwit::compat

#include "runtimes/runc_restore.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <optional>
#include <vector>

#include "kernel/error.h"
#include "program/root_task.h"
#include "runtimes/command.h"
#include "runtimes/criu_log.h"
#include "runtimes/runc.h"

namespace godwit::runtimes {

namespace {

/// Where our `criu` writes its log. runc would have it beside its own state, which is gone after a failure.
class WorkDirectory {
 public:
  WorkDirectory() {
    const char* const given = ::getenv("TMPDIR");
    path_ = std::string(given != nullptr && *given == '/' ? given : "/tmp") + "/godwit-restore-XXXXXX";
    if (::mkdtemp(path_.data()) == nullptr) {
      throw errno_error("cannot make a directory {}", path_);
    }
  }
  WorkDirectory(const WorkDirectory&) = delete;
  WorkDirectory& operator=(const WorkDirectory&) = delete;
  ~WorkDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  [[nodiscard]] const std::string& path() const { return path_; }

  /// What went wrong; empty: nothing, or our `criu` never ran.
  [[nodiscard]] std::string failure() const { return failure_in_log(path_ + "/restore.log"); }

 private:
  std::string path_;
};

/// runc changes to the bundle's directory first.
std::string absolute(const std::string& path) {
  return path.empty() ? path : std::filesystem::absolute(path).string();
}

void check_file(const std::string& path, const char* why) {
  if (::access(path.c_str(), R_OK) != 0) {
    const int code = errno;
    throw Error(fmt::format("cannot read {}", path), code, why);
  }
}

/// Where the bundle is, which must be known before runc forgets the container.
std::string find_bundle(const RuncRestore& restore, const std::optional<RuncRecord>& record) {
  std::string bundle = absolute(restore.bundle);
  if (bundle.empty() && record) {
    bundle = record->bundle;
  }
  if (bundle.empty()) {
    throw Error(fmt::format("runc has no container '{}' in {}, which would say where its bundle is",
                            restore.name, restore.root),
                0, "give it by --bundle");
  }
  check_file(bundle + "/config.json", "the bundle of a container has it");
  return bundle;
}

std::vector<std::string> command(const RuncRestore& restore, const std::string& bundle,
                                 const std::string& work) {
  std::vector<std::string> words{
      "runc",        "--root", restore.root, "restore", "--image-path", absolute(restore.images),
      "--work-path", work,     "--bundle",   bundle};
  const auto add = [&](const char* option, const std::string& path) {
    if (!path.empty()) {
      words.emplace_back(option);
      words.push_back(absolute(path));
    }
  };
  add("--console-socket", restore.console_socket);
  add("--pid-file", restore.pidfile);
  if (restore.detach) {
    words.emplace_back("--detach");
  }
  words.push_back(restore.name);
  return words;
}

}  // namespace

int restore_runc_container(const RuncRestore& restore) {
  const std::optional<RuncRecord> record = find_runc_record(restore.root, restore.name);
  if (record && record->runs) {
    throw Error(fmt::format("runc's container '{}' is there", restore.name), 0,
                fmt::format("'runc delete --force {}' ends it", restore.name));
  }
  const std::string bundle = find_bundle(restore, record);
  check_file(restore.images + "/" + kRuncDescriptors,
             "'godwit dump --runc' and 'runc checkpoint' write that into the checkpoint of a container");
  const std::string programs = directory_of_criu();
  // --force: to runc a container that was dumped while it was paused is so still, since its cgroup is.
  if (record && wait_for_command(start_command(
                    {"runc", "--root", restore.root, "delete", "--force", restore.name}, programs)) != 0) {
    throw error("runc couldn't forget its container '{}', which has ended", restore.name);
  }
  const WorkDirectory work;
  const int code = wait_and_forward_signals(start_command(command(restore, bundle, work.path()), programs));
  const std::string failure = code == 0 ? "" : work.failure();
  if (!failure.empty() || (code != 0 && restore.detach)) {
    throw Error(fmt::format("runc couldn't restore container '{}'{}{}", restore.name,
                            failure.empty() ? "" : ": ", failure),
                0, record ? fmt::format("the next time give --bundle {}", bundle) : "");
  }
  return code;
}

}  // namespace godwit::runtimes

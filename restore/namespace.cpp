#include "restore/namespace.h"

#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>

#include "kernel/error.h"
#include "restore/net.h"
#include "restore/time_namespace.h"

namespace godwit {

namespace {

void set_names(const image::UtsNamespace& names) {
  if (::sethostname(names.hostname().data(), names.hostname().size()) != 0 ||
      ::setdomainname(names.domainname().data(), names.domainname().size()) != 0) {
    throw errno_error("cannot set host name {}", names.hostname());
  }
}

void apply_settings(const image::IpcNamespace& record) {
  for (const image::Setting& setting : record.settings()) {
    const Fd file(::open(fmt::format("/proc/sys/{}", setting.name()).c_str(), O_RDWR | O_CLOEXEC));
    if (!file) {
      throw errno_error("cannot set {} to {}", setting.name(), setting.value());
    }
    std::string now = read_all(file.get(), setting.name());
    now.resize(std::min(now.size(), now.find('\n')));
    if (now != setting.value() &&
        ::pwrite(file.get(), setting.value().data(), setting.value().size(), 0) < 0) {
      throw errno_error("cannot set {} to {}", setting.name(), setting.value());
    }
  }
}

}  // namespace

uint64_t namespaces_to_clone(const Plan& plan) {
  uint64_t flags = 0;
  for (const image::Namespace* record : plan.root_namespaces) {
    // Whoever is cloned into a new time namespace can't set its clocks any more: the first process enters it.
    const bool cloned = record->external().empty() && record->kind() != "time";
    flags |= cloned ? namespace_flag(record->kind()) : 0;
  }
  return flags;
}

ExternalNamespaces open_external_namespaces(const Plan& plan,
                                            const std::map<std::string, std::string>& paths) {
  ExternalNamespaces opened;
  for (const image::Namespace* record : plan.root_namespaces) {
    const std::string& name = record->external();
    if (name.empty()) {
      continue;
    }
    const auto found = paths.find(name);
    if (found == paths.end()) {
      throw error("task {}: its {} namespace isn't in the checkpoint", record->task(), record->kind())
          .hint(fmt::format("it was dumped as external: hand one over under the name {}", name));
    }
    Fd space = open_file(found->second, O_RDONLY);
    const int kind = ::ioctl(space.get(), NS_GET_NSTYPE);
    if (kind < 0 || static_cast<uint64_t>(kind) != namespace_flag(record->kind())) {
      throw error("{}, handed over as {}, isn't a {} namespace", found->second, name, record->kind());
    }
    opened[record] = std::move(space);
  }
  return opened;
}

void join_external_namespaces(const ExternalNamespaces& external) {
  for (const auto& [record, space] : external) {
    if (::setns(space.get(), static_cast<int>(namespace_flag(record->kind()))) != 0) {
      throw errno_error("cannot enter the {} namespace {}", record->kind(), record->external());
    }
  }
}

void furnish_mounts(const Plan& plan, const CheckpointImage& image, const MountSettings& settings) {
  const image::Namespace* ours = plan.root_namespace("mnt");
  if (ours == nullptr || !ours->external().empty()) {
    return;
  }
  for (const auto* space : image.all<image::MountNamespace>()) {
    if (space->id() == ours->id()) {
      build_mounts(image, *space, settings);
      return;
    }
  }
  // A copy of our mounts, as unshare(1) makes it: what is mounted in it stays in it.
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
    throw errno_error("cannot part the mounts from those outside");
  }
}

void furnish_namespaces(const Plan& plan) {
  for (const image::Namespace* record : plan.root_namespaces) {
    if (!record->external().empty()) {
      continue;
    }
    with_context([&] { return fmt::format("{} namespace", record->kind()); },
                 [&] {
                   if (record->has_uts()) {
                     set_names(record->uts());
                   }
                   apply_settings(record->ipc());
                   furnish_net_namespace(record->net());
                   if (record->has_time()) {
                     enter_new_time_namespace(record->time());
                   }
                 });
  }
}

InsideTheTree::InsideTheTree(const Plan& plan, const FirstProcess& first) {
  // The mount namespace last: there our own /proc may not be.
  for (const std::string_view kind : {"time", "ipc", "net", "mnt"}) {
    if (plan.root_namespace(kind) == nullptr) {
      continue;
    }
    Fd space = first.namespace_of(kind.data());
    entered_.push_back(std::make_unique<EnteredNamespace>(kind.data(), space.get()));
    if (kind == "mnt") {
      root_ = {open_file("/", O_PATH | O_DIRECTORY), std::move(space)};
    }
  }
}

}  // namespace godwit

#include "restore/namespace.h"

#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "kernel/error.h"
#include "restore/net.h"

namespace godwit {

namespace {

void set_names(const image::UtsNamespace& names) {
  if (::sethostname(names.hostname().data(), names.hostname().size()) != 0 ||
      ::setdomainname(names.domainname().data(), names.domainname().size()) != 0) {
    throw errno_error("cannot set host name {}", names.hostname());
  }
}

}  // namespace

uint64_t namespaces_to_clone(const Plan& plan) {
  uint64_t flags = 0;
  for (const image::Namespace* record : plan.root_namespaces) {
    flags |= record->external().empty() ? namespace_flag(record->kind()) : 0;
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
  for (const auto* space : image.all<image::MountNamespace>()) {
    if (ours != nullptr && space->id() == ours->id()) {
      build_mounts(image, *space, settings);
    }
  }
}

void furnish_namespaces(const Plan& plan) {
  for (const image::Namespace* record : plan.root_namespaces) {
    if (!record->external().empty()) {
      continue;
    }
    with_context([&] { return fmt::format("{} namespace", record->kind()); },
                 [&] {
                   if (record->kind() == "uts" && record->has_uts()) {
                     set_names(record->uts());
                   }
                   if (record->kind() == "net") {
                     furnish_net_namespace(record->net());
                   }
                 });
  }
}

InsideTheTree::InsideTheTree(const Plan& plan, const FirstProcess& first) {
  // The mount namespace last: there our own /proc may not be.
  for (const char* kind : {"ipc", "net", "mnt"}) {
    if (plan.root_namespace(kind) != nullptr) {
      const Fd descriptor = first.namespace_of(kind);
      entered_.push_back(std::make_unique<EnteredNamespace>(kind, descriptor.get()));
    }
  }
}

}  // namespace godwit

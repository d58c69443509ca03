#include <fcntl.h>
#include <unistd.h>

#include <ctime>

#include "images-format/checkpoint_reader.h"
#include "images-format/partial_directory.h"
#include "images-format/partial_name.h"
#include "kernel/cancel.h"
#include "kernel/error.h"
#include "kernel/fd.h"
#include "kernel/log.h"
#include "program/output.h"
#include "runtimes/checkpoint_files.h"
#include "runtimes/managed.h"
#include "runtimes/managed_files.h"

namespace godwit::runtimes {

namespace {

/// Docker tells the end of a container some milliseconds after its checkpoint.
void wait_until_ended(const Client& client, const std::string& id) {
  constexpr int kTries = 500;
  constexpr timespec kPause{.tv_sec = 0, .tv_nsec = 20'000'000};
  for (int i = 0; i < kTries; ++i) {
    if (!find_managed_container(client, id).inspected.running) {
      return;
    }
    ::nanosleep(&kPause, nullptr);
  }
  throw error("{} still takes it for running", client.name());
}

/// The checkpoint that the manager makes. Podman has one of each container, Docker any number with names.
class Made {
 public:
  Made(const Client& client, const ManagedContainer& container, const ManagedDump& dump)
      : client_(client),
        id_(container.inspected.id),
        name_("godwit-" + random_suffix()),
        path_(container.directory + (client.manager() == Manager::Podman ? fmt::format("/{}", kPodmansImages)
                                                                         : "/checkpoints/" + name_)),
        ends_(!dump.leave_running),
        tcp_established_(dump.tcp_established) {}

  void make() const {
    std::vector<std::string> words{"container", "checkpoint", "--keep"};
    if (client_.manager() == Manager::Docker) {
      words = {"checkpoint", "create"};
    }
    if (!ends_) {
      words.emplace_back("--leave-running");
    }
    if (tcp_established_) {
      words.emplace_back("--tcp-established");
    }
    words.push_back(id_);
    if (client_.manager() == Manager::Docker) {
      words.push_back(name_);
    }
    static_cast<void>(client_.run(words));
    if (ends_) {
      wait_until_ended(client_, id_);
    }
  }

  /// The container, if it has ended for this, runs again.
  void undo() const {
    if (ends_) {
      static_cast<void>(client_.run(restore_command()));
    }
    forget();
  }

  /// Docker would keep it, and list it. Podman's own restore takes the one that it has.
  void forget() const {
    if (client_.manager() == Manager::Docker) {
      static_cast<void>(client_.run({"checkpoint", "rm", id_, name_}));
    }
  }

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] std::string restore_hint() const {
    std::string hint = client_.program();
    for (const std::string& word : restore_command()) {
      hint += " " + word;
    }
    return fmt::format("its checkpoint is {}, from which '{}' brings it back", path_, hint);
  }

 private:
  [[nodiscard]] std::vector<std::string> restore_command() const {
    if (client_.manager() == Manager::Podman) {
      std::vector<std::string> words{"container", "restore", "--keep"};
      if (tcp_established_) {
        words.emplace_back("--tcp-established");
      }
      words.push_back(id_);
      return words;
    }
    return {"start", "--checkpoint=" + name_, id_};
  }

  const Client& client_;
  std::string id_;
  std::string name_;
  std::string path_;
  bool ends_;
  bool tcp_established_;
};

void check_it_is_ours(const Client& client, const std::string& path) {
  try {
    static_cast<void>(CheckpointImage::open_directory(path));
  } catch (Error& e) {
    e.in(fmt::format("what {} has written is no checkpoint of godwit's", client.name()));
    throw;
  }
}

void copy_out(const ManagedContainer& container, const Client& client, const std::string& made,
              PartialDirectory& copy, bool sync) {
  const Fd source = open_file(made, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  const Directory to{copy.get(), copy.path()};
  copy_checkpoint({source.get(), made}, to, sync);
  if (client.manager() == Manager::Podman) {
    const Fd beside = open_file(container.directory, O_RDONLY | O_DIRECTORY);
    for (const char* name : kPodmansFiles) {
      copy_if_there({beside.get(), container.directory}, name, to, sync);
    }
  }
  write_new_file(to, kContainerFile,
                 fmt::format("{{\"runtime\": {}, \"id\": {}, \"name\": {}}}\n", json_string(client.program()),
                             json_string(container.inspected.id), json_string(container.inspected.name)),
                 sync);
  copy.publish(sync);
}

bool runs(const Client& client, const std::string& id) {
  try {
    return find_managed_container(client, id).inspected.running;
  } catch (const Error&) {
    return false;
  }
}

}  // namespace

void dump_managed_container(const Client& client, const ManagedContainer& container,
                            const ManagedDump& dump) {
  PartialDirectory copy(dump.directory);
  const Made made(client, container, dump);
  check_cancelled();
  try {
    made.make();
  } catch (Error& e) {
    throw runs(client, container.inspected.id)
        ? std::move(e)
        : Error(fmt::format("{}; the container doesn't run any more", e.what()), 0, made.restore_hint());
  }
  try {
    check_it_is_ours(client, made.path());
    copy_out(container, client, made.path(), copy, dump.sync);
  } catch (Error& e) {
    try {
      made.undo();
    } catch (const Error& failure) {
      throw Error(fmt::format("{}; and the container couldn't be brought back: {}", e.what(), failure.what()),
                  0, made.restore_hint());
    }
    throw;
  }
  try {
    made.forget();
  } catch (const Error& e) {
    log::warning("the dump is done, but {}", e.what());
  }
}

}  // namespace godwit::runtimes

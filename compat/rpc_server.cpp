#include "compat/rpc_server.h"

#include <unistd.h>

#include <optional>

#include "compat/become.h"
#include "compat/command_line.h"
#include "compat/log_file.h"
#include "compat/operations.h"
#include "compat/peer_features.h"
#include "compat/rpc_options.h"
#include "compat/rpc_socket.h"
#include "kernel/error.h"
#include "kernel/log.h"
#include "kernel/userfaultfd.h"

namespace godwit::compat {

namespace {

constexpr const char* kDefaultLog = "criu.log";

/// What a client is told must fit into its buffer, the smallest of which is 8 kB.
std::string brief(const std::string& message) {
  constexpr size_t kLongest = 4000;
  constexpr std::string_view kRest = " ... (the log has all of it)";
  if (message.size() <= kLongest) {
    return message;
  }
  size_t end = kLongest - kRest.size();
  const auto continues = [](char byte) { return (static_cast<unsigned char>(byte) & 0xc0U) == 0x80; };
  while (end > 0 && continues(message[end])) {
    --end;  // a character of UTF-8 isn't cut in two
  }
  return message.substr(0, end) + std::string(kRest);
}

/// Sockets that the client names in its answer to query-ext-files.
void judge_external_sockets(const rpc::Options& options) {
  Asked asked;
  for (const rpc::UnixSocket& socket : options.unix_sk_ino()) {
    asked.set(*find_field("unix_sk_ino"), std::to_string(socket.inode()));
  }
  asked.judge();
}

/// A notification and the client's answer to it.
Notifier::Ask ask_by(const RpcSocket& socket) {
  return [&socket](const Notifier::Question& asked) {
    rpc::Response question;
    question.set_type(rpc::NOTIFY);
    question.set_success(true);
    question.mutable_notify()->set_script(std::string(asked.moment));
    if (asked.root != 0) {
      question.mutable_notify()->set_pid(asked.root);
    }
    socket.send(question, asked.descriptor);
    rpc::Request answer;
    if (!with_context([&] { return fmt::format("at {}", asked.moment); },
                      [&] { return socket.receive(answer, asked.heeded); })) {
      throw Error(fmt::format("the client went away at {}", asked.moment), ECONNRESET);
    }
    if (answer.type() != rpc::NOTIFY) {
      throw Error(fmt::format("the client answered {} with a request", asked.moment), EBADMSG);
    }
    if (!answer.notify_success()) {
      throw error("the client refused to go on at {}", asked.moment);
    }
    judge_external_sockets(answer.opts());
  };
}

/// One request. What fails is told to the client and to the log.
class Job {
 public:
  Job(const RpcSocket& socket, const rpc::Request& request, StartedBy started_by)
      : socket_(socket), request_(request), started_by_(started_by) {
    response_.set_type(request.type());
    response_.set_success(true);
  }

  /// Whether it was done, and the client knows.
  bool run() {
    try {
      dispatch();
    } catch (const Error& e) {
      fail(e.what(), e.code());
    } catch (const std::exception& e) {
      fail(e.what(), 0);
    }
    try {
      socket_.send(response_);
    } catch (const Error& e) {
      log_failure(e.what());
      return false;
    }
    return response_.success();
  }

  /// What this program is to become when that is done; mostly nothing.
  [[nodiscard]] const std::vector<std::string>& exec_cmd() const { return asked_.settings.exec_cmd; }

 private:
  void dispatch() {
    switch (request_.type()) {
      case rpc::VERSION:
        response_.mutable_version()->set_major_number(PeerVersion::kMajor);
        response_.mutable_version()->set_minor_number(PeerVersion::kMinor);
        return;
      case rpc::FEATURE_CHECK:
        // What the client asks about stands in its message; all that there is is told.
        response_.mutable_features()->set_mem_track(userfaultfd::can_track_writes());
        response_.mutable_features()->set_lazy_pages(false);
        response_.mutable_features()->set_pidfd_store(false);
        return;
      case rpc::CHECK:
        check_machine_features();
        return;
      case rpc::DUMP:
        prepare();
        run_dump(asked_.settings, *workplace_, notifier());
        response_.mutable_dump()->set_restored(false);
        return;
      case rpc::PRE_DUMP:
      case rpc::SINGLE_PRE_DUMP:
        prepare();
        run_pre_dump(asked_.settings, *workplace_, notifier());
        return;
      case rpc::RESTORE:
        restore();
        return;
      case rpc::NOTIFY:
      case rpc::EMPTY:
        response_.set_type(rpc::EMPTY);
        throw Error("that isn't a request", EBADMSG);
      default:
        if (request_.has_opts()) {
          prepare();
        }
        throw Error(
            fmt::format("requests of type {} aren't supported yet", rpc::RequestType_Name(request_.type())),
            EOPNOTSUPP);
    }
  }

  void restore() {
    prepare();
    const pid_t root = run_restore(asked_.settings, *workplace_, notifier());
    response_.mutable_restore()->set_pid(root);
  }

  void prepare() {
    if (!request_.has_opts()) {
      throw Error("the request has no options", EBADMSG);
    }
    asked_.settings.images_dir.clear();  // the present directory is the command line's default
    std::optional<Error> config_failure;
    const auto read_config = [&](const auto& read) {
      try {
        read();
      } catch (const Error& e) {
        config_failure = e;
      }
    };
    read_config([&] { read_default_config(asked_); });
    read_options(request_.opts(), socket_.client(), asked_);
    // What administrators write into a file of options wins over what the client asks. Clients name one that
    // needn't be there.
    const std::string config = asked_.settings.config_file;
    if (!config.empty() && ::access(config.c_str(), F_OK) == 0) {
      read_config([&] { read_config_file(config, asked_); });
    }
    if (asked_.settings.images_dir.empty()) {
      throw Error("the request names no directory of images", EINVAL);
    }
    workplace_.emplace(asked_.settings, kDefaultLog);
    if (config_failure) {
      throw *config_failure;
    }
    if (started_by_ == StartedBy::Service && !asked_.settings.inherited.empty()) {
      asked_.refuse("option inherit-fd isn't supported by a service, which has other descriptors",
                    asked_.settings.inherited.front());
    }
    asked_.judge();
  }

  [[nodiscard]] Notifier notifier() const {
    return {asked_.settings.action_scripts, workplace_->images_path,
            asked_.settings.notify ? ask_by(socket_) : nullptr};
  }

  void fail(const std::string& message, int code) {
    log_failure(message);
    response_.set_success(false);
    response_.set_cr_errno(code);
    response_.set_cr_errmsg(brief(message));
  }

  const RpcSocket& socket_;
  const rpc::Request& request_;
  StartedBy started_by_;
  rpc::Response response_;
  Asked asked_;
  std::optional<Workplace> workplace_;
};

}  // namespace

int serve_client(Fd client, StartedBy started_by) {
  const RpcSocket socket(std::move(client));
  rpc::Request request;
  bool done = true;
  bool go_on = false;
  do {
    request.Clear();
    if (!socket.receive(request)) {
      break;
    }
    Job job(socket, request, started_by);
    const bool this_done = job.run();
    if (this_done && request.type() == rpc::RESTORE && !job.exec_cmd().empty()) {
      become(job.exec_cmd());
    }
    done = this_done && done;
    // After one pre-dump more of them may follow, and the dump.
    go_on = request.keep_open() || (this_done && request.type() == rpc::PRE_DUMP);
  } while (go_on);
  return done ? 0 : 1;
}

}  // namespace godwit::compat

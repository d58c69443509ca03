#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/syscall.h>

#include "images-format/epoll.pb.h"
#include "restore/descriptor_kind.h"

namespace godwit::making {

namespace {

void make(const google::protobuf::Message& message, MakeContext& context) {
  const auto& record = static_cast<const image::Epoll&>(message);
  const Slot made = context.script.call_to_slot("make an epoll", SYS_epoll_create1, {O_CLOEXEC});
  context.deliver(record.open_file(), made);
}

void add_watch(const image::EpollWatch& watch, int epoll, FinishContext& context) {
  ScriptBuilder& script = context.script;
  const auto number = static_cast<int>(watch.fd());
  epoll_event event{};
  event.events = watch.events();
  event.data.u64 = watch.data();
  const auto add = [&] {
    script.call("add a watch to an epoll", SYS_epoll_ctl,
                {epoll, EPOLL_CTL_ADD, number, script.object(event)});
  };
  const uint32_t present = context.at(number);
  if (present == watch.open_file_id()) {
    add();
    return;
  }
  // The number leads elsewhere by now, but a watch keeps the number under which it was added.
  if (present != 0) {
    script.call("move a descriptor away", SYS_dup3, {number, context.scratch, O_CLOEXEC});
  }
  script.call("lend a number", SYS_dup3, {context.number_of(watch.open_file_id()), number, O_CLOEXEC});
  add();
  if (present != 0) {
    script.place("put a descriptor back", context.scratch, number, context.is_close_on_exec(number));
  } else {
    script.call("give a number back", SYS_close, {number});
  }
}

void finish(const google::protobuf::Message& message, FinishContext& context) {
  const auto& record = static_cast<const image::Epoll&>(message);
  const uint32_t id = record.open_file().id();
  for (const image::EpollWatch& watch : record.watches()) {
    if (context.is_first_with({id, watch.open_file_id()})) {
      add_watch(watch, context.number_of(id), context);
    }
  }
}

}  // namespace

constinit const Kind kEpoll{RecordType::Epoll, "epoll", single_open_file<image::Epoll>, make, finish};

}  // namespace godwit::making

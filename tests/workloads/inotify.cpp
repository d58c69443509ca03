// inotify: watches of files and directories with numbers that have gaps, masks, one that fires once, one of a
// file without a name; through an epoll; nothing that a restore does is an event.
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <vector>

#include "tests/workloads/descriptor.h"

using namespace workload;

namespace {

struct Event {
  int watch;
  uint32_t mask;
  std::string name;
  bool operator==(const Event&) const = default;
};

std::vector<Event> events_of(int fd) {
  std::vector<Event> events;
  alignas(inotify_event) char buffer[16384];
  const ssize_t size = read(fd, buffer, sizeof buffer);
  for (ssize_t at = 0; at < size;) {
    const auto* event = reinterpret_cast<const inotify_event*>(buffer + at);
    events.push_back({event->wd, event->mask, event->len > 0 ? event->name : ""});
    at += static_cast<ssize_t>(sizeof *event + event->len);
  }
  return events;
}

void make_file(const std::string& path) {
  const int fd = static_cast<int>(must(open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600), "a file"));
  must(write_text(fd, "x") ? 0 : -1, "write");
  close(fd);
}

void touch(const std::string& path) {
  check(chmod(path.c_str(), 0640) == 0 && chmod(path.c_str(), 0600) == 0, "chmod");
}

int waiting(int fd) {
  int bytes = -1;
  check(ioctl(fd, FIONREAD, &bytes) == 0, "FIONREAD");
  return bytes;
}

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  const std::string here = in_directory("place");  // the test makes files beside it
  must(mkdir(here.c_str(), 0700), "mkdir");
  for (const char* name : {"/watched", "/other", "/once", "/spare", "/nameless"}) {
    make_file(here + name);
  }
  must(mkdir((here + "/inner").c_str(), 0700), "mkdir");
  const int fd = static_cast<int>(must(inotify_init1(IN_NONBLOCK | IN_CLOEXEC), "inotify"));
  const auto watch = [&](const char* name, uint32_t mask) {
    return static_cast<int>(must(inotify_add_watch(fd, (here + name).c_str(), mask), "a watch"));
  };
  const int file = watch("/watched", IN_ATTRIB);
  for (int i = 0; i < 100; ++i) {
    must(inotify_rm_watch(fd, watch("/spare", IN_ATTRIB)), "the end of a watch");
  }
  const int inner = watch("/inner", IN_CREATE | IN_DELETE);
  const int once = watch("/once", IN_ATTRIB | IN_ONESHOT);
  const int held = static_cast<int>(must(open((here + "/nameless").c_str(), O_RDWR), "a file"));
  const int nameless = watch("/nameless", IN_MODIFY);
  must(unlink((here + "/nameless").c_str()), "unlink");
  const int top = watch("", IN_CREATE | IN_OPEN);
  const int epoll = static_cast<int>(must(epoll_create1(EPOLL_CLOEXEC), "epoll"));
  epoll_event wanted{};
  wanted.events = EPOLLIN;
  must(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &wanted), "epoll_ctl");
  const int blocking = static_cast<int>(must(inotify_init1(0), "inotify"));
  events_of(fd);
  must(inner > file + 100 && waiting(fd) == 0 ? 0 : -1, "numbers with a gap");

  say_ready();
  wait_to_go_on();

  epoll_event found{};
  check(waiting(fd) == 0, "no event has come");
  check(epoll_wait(epoll, &found, 1, 0) == 0, "nor does epoll say so");
  check((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0 && (fcntl(blocking, F_GETFL) & O_NONBLOCK) == 0, "flags");
  touch(here + "/watched");
  touch(here + "/other");
  touch(here + "/once");
  make_file(here + "/inner/new");
  check(unlink((here + "/inner/new").c_str()) == 0, "unlink");
  check(write_text(held, "more"), "write");
  make_file(here + "/fresh");
  const std::vector<Event> expected = {
      {file, IN_ATTRIB, ""},     {once, IN_ATTRIB, ""},     {once, IN_IGNORED, ""},
      {inner, IN_CREATE, "new"}, {inner, IN_DELETE, "new"}, {nameless, IN_MODIFY, ""},
      {top, IN_CREATE, "fresh"}, {top, IN_OPEN, "fresh"},
  };
  check(epoll_wait(epoll, &found, 1, 0) == 1, "epoll says that there are events");
  const std::vector<Event> events = events_of(fd);
  if (events != expected) {
    for (const Event& event : events) {
      fprintf(stderr, "%d %x %s\n", event.watch, event.mask, event.name.c_str());
    }
  }
  check(events == expected, "each file's events, by the old numbers");
  check(inotify_add_watch(fd, (here + "/spare").c_str(), IN_ATTRIB) > top, "a new watch gets a new number");
  finish();
}

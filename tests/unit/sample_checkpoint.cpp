#include "tests/unit/sample_checkpoint.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <random>
#include <string_view>

#include "images-format/cgroup.pb.h"
#include "images-format/checkpoint.pb.h"
#include "images-format/epoll.pb.h"
#include "images-format/eventfd.pb.h"
#include "images-format/file.pb.h"
#include "images-format/file_lock.pb.h"
#include "images-format/frame.h"
#include "images-format/hash.h"
#include "images-format/inet_socket.pb.h"
#include "images-format/memfd.pb.h"
#include "images-format/mm.pb.h"
#include "images-format/payload.h"
#include "images-format/pipe.pb.h"
#include "images-format/regular_file.pb.h"
#include "images-format/seccomp.pb.h"
#include "images-format/shared_memory.pb.h"
#include "images-format/signalfd.pb.h"
#include "images-format/task.pb.h"
#include "images-format/timerfd.pb.h"
#include "images-format/tty.pb.h"
#include "images-format/unix_socket.pb.h"
#include "kernel/error.h"

namespace godwit {

namespace {

constexpr uint32_t kXsaveSize = 832;
constexpr uint64_t kCode = 0x400000;
constexpr uint64_t kHeap = 0x10000000;
constexpr uint64_t kShared = 0x20000000;
constexpr uint64_t kVdso = 0x7fff00000000;

image::Checkpoint header() {
  image::Checkpoint header;
  header.set_format_version(kFormatVersion);
  header.set_uuid("0123456789abcdef");
  header.set_godwit_version("0.1.0");
  header.set_kernel_release("6.18.0");
  header.set_machine("x86_64");
  header.set_boot_id("b0071d");
  header.set_page_size(kPageSize);
  header.set_xsave_features(7);
  header.set_xsave_size(kXsaveSize);
  header.set_root_pid(100);
  header.mutable_vdso()->set_vvar_size(4 * kPageSize);
  header.mutable_vdso()->set_vdso_size(2 * kPageSize);
  return header;
}

void fill_thread(image::Thread& thread, int32_t tid, const std::string& comm) {
  thread.add_tid(tid);
  for (int i = 0; i < 27; ++i) {
    thread.mutable_registers()->add_general(static_cast<uint64_t>(i));
  }
  std::string xsave(kXsaveSize, '\0');
  xsave[512] = 7;
  thread.mutable_registers()->set_xsave(xsave);
  thread.mutable_credentials()->set_uid(1000);
  thread.mutable_credentials()->add_groups(1000);
  thread.mutable_scheduling()->set_affinity("\x03");
  thread.set_comm(comm);
  thread.mutable_robust_list()->set_head(kHeap);
  thread.mutable_robust_list()->set_length(24);
  thread.mutable_rseq()->set_address(kHeap + 64);
  thread.mutable_rseq()->set_size(32);
}

std::string siginfo(int signal) {
  std::string bytes(128, '\0');
  bytes[0] = static_cast<char>(signal);
  return bytes;
}

image::Task task(int32_t pid, int32_t parent, uint32_t mm) {
  image::Task task;
  task.add_pid(pid);
  task.set_parent(parent);
  task.set_session(100);
  task.set_process_group(100);
  task.set_exit_signal(17);
  task.set_mm_id(mm);
  task.set_descriptor_table_id(1);
  task.set_filesystem_id(1);
  task.set_cgroup_set(1);
  task.mutable_filesystem()->set_cwd("/tmp");
  task.mutable_filesystem()->set_root("/");
  task.mutable_filesystem()->set_umask(022);
  fill_thread(*task.add_threads(), pid, "sample");
  auto& limit = *task.add_resource_limits();
  limit.set_resource(7);
  limit.set_soft(1024);
  limit.set_hard(4096);
  return task;
}

image::Task second_task() {
  image::Task second = task(101, 100, 2);
  second.set_cgroup_set(2);
  fill_thread(*second.add_threads(), 102, "worker");
  second.mutable_threads(1)->set_cgroup_set(3);
  auto& seccomp = *second.mutable_threads(1)->mutable_seccomp();
  seccomp.set_mode(image::Seccomp::FILTER);
  seccomp.add_filter_ids(1);
  second.add_pending_signals()->set_siginfo(siginfo(12));
  auto& action = *second.mutable_signal_actions()->add_action();
  action.set_signal(12);
  action.set_handler(kCode);
  auto& interval = *second.add_interval_timers();
  interval.set_which(0);
  interval.set_remaining_us(5000);
  auto& timer = *second.add_posix_timers();
  timer.set_id(0);
  timer.set_notify(4);
  timer.set_signal(12);
  timer.set_thread(102);
  return second;
}

image::Task zombie() {
  image::Task zombie;
  zombie.add_pid(103);
  zombie.set_parent(100);
  zombie.set_session(100);
  zombie.set_process_group(100);
  zombie.set_state(image::Task::ZOMBIE);
  zombie.set_exit_status(3 << 8);
  zombie.set_exit_signal(17);
  zombie.set_comm("gone");
  return zombie;
}

image::Mapping& add_mapping(image::Mm& mm, uint64_t start, uint64_t pages, uint32_t prot,
                            image::Mapping::Backing backing) {
  image::Mapping& mapping = *mm.add_mappings();
  mapping.set_start(start);
  mapping.set_end(start + pages * kPageSize);
  mapping.set_prot(prot);
  mapping.set_backing(backing);
  return mapping;
}

image::Mm mm(uint32_t id, uint64_t memory_object) {
  image::Mm mm;
  mm.set_id(id);
  mm.set_memory_object(memory_object);
  mm.set_exe_file_id(1);
  mm.add_auxv(6);
  mm.add_auxv(kPageSize);
  add_mapping(mm, kCode, 4, 5, image::Mapping::FILE).set_file_id(1);
  add_mapping(mm, kHeap, 16, 3, image::Mapping::ANONYMOUS).set_name("heap");
  image::Mapping& shared = add_mapping(mm, kShared, 4, 3, image::Mapping::SHARED_MEMORY);
  shared.set_shared(true);
  shared.set_shared_memory_id(1);
  add_mapping(mm, kVdso, 4, 1, image::Mapping::VVAR);
  add_mapping(mm, kVdso + 4 * kPageSize, 2, 5, image::Mapping::VDSO);
  return mm;
}

void append_memory(std::vector<Record>& records, PageSink& sink) {
  MemoryIndexBuilder first;
  first.add_run(kHeap / kPageSize, 3, image::PAGE_PRESENT);
  first.add_run(kHeap / kPageSize + 3, 2, image::PAGE_ZERO);
  first.add_run(kHeap / kPageSize + 8, 2, image::PAGE_PRESENT);
  first.add_block(sink.write_block(noise(2, 1)));
  first.add_block(sink.write_block(text(3, 2)));
  append(records, std::move(first).finish(1));

  MemoryIndexBuilder second;
  second.add_run(kHeap / kPageSize, 3, image::PAGE_INHERITED);
  second.add_run(kHeap / kPageSize + 3, 1, image::PAGE_PRESENT);
  second.add_block(sink.write_block(noise(1, 3)));
  append(records, std::move(second).finish(2));

  MemoryIndexBuilder shared;
  shared.add_run(1, 1, image::PAGE_PRESENT);
  shared.add_block(sink.write_block(noise(1, 4)));
  append(records, std::move(shared).finish(3));

  MemoryIndexBuilder ghost;
  ghost.add_run(0, 1, image::PAGE_PRESENT);
  ghost.add_block(sink.write_block(text(1, 5)));
  append(records, std::move(ghost).finish(4));
  append(records, MemoryIndexBuilder().finish(5));
}

void append_shared_memory(std::vector<Record>& records) {
  image::SharedMemory anonymous;
  anonymous.set_id(1);
  anonymous.set_memory_object(3);
  anonymous.set_size(4 * kPageSize);
  append(records, anonymous);
  image::SharedMemory memfd;
  memfd.set_id(2);
  memfd.set_memory_object(5);
  memfd.set_size(100);
  memfd.set_memfd(true);
  memfd.set_name("scratch");
  memfd.set_mode(0600);
  append(records, memfd);
}

void append_files(std::vector<Record>& records) {
  const auto file = [](uint32_t id, const char* path, uint32_t mode, uint64_t size) {
    image::File record;
    record.set_id(id);
    record.set_path(path);
    record.set_mode(mode);
    record.set_size(size);
    return record;
  };
  append(records, file(1, "/usr/bin/sample", S_IFREG | 0755, 4 * kPageSize));
  image::File ghost = file(2, "/tmp/ghost", S_IFREG | 0600, 10);
  ghost.mutable_ghost()->set_memory_object(4);
  append(records, ghost);
  append(records, file(3, "/tmp/fifo", S_IFIFO | 0600, 0));
}

/// Fills the description in, and a descriptor for it in `table`.
void describe(image::OpenFile& file, uint32_t flags, image::DescriptorTable& table) {
  const auto id = static_cast<uint32_t>(table.descriptors_size() + 1);
  file.set_id(id);
  file.set_flags(flags);
  image::Descriptor& descriptor = *table.add_descriptors();
  descriptor.set_fd(id - 1);
  descriptor.set_open_file_id(id);
}

void append_pipes_and_sockets(std::vector<Record>& records, image::DescriptorTable& table) {
  image::Pipe pipe;
  describe(*pipe.add_ends()->mutable_open_file(), O_RDONLY, table);
  describe(*pipe.add_ends()->mutable_open_file(), O_WRONLY, table);
  pipe.set_capacity(65536);
  pipe.set_data("waiting");
  append(records, pipe);
  image::Pipe fifo;
  describe(*fifo.add_ends()->mutable_open_file(), O_RDWR, table);
  fifo.set_capacity(65536);
  fifo.set_fifo_file_id(3);
  append(records, fifo);
  image::UnixSocket pair;
  pair.set_type(1);
  describe(*pair.add_ends()->mutable_open_file(), O_RDWR, table);
  describe(*pair.add_ends()->mutable_open_file(), O_RDWR, table);
  pair.mutable_ends(0)->mutable_queue()->add_messages()->set_data("hello");
  append(records, pair);
  image::InetSocket inet;
  describe(*inet.mutable_open_file(), O_RDWR, table);
  inet.set_family(2);
  inet.set_type(1);
  inet.set_protocol(6);
  inet.set_local_address(std::string("\x02\x00\x1f\x90\x7f\x00\x00\x01", 8) + std::string(8, '\0'));
  inet.set_listening(true);
  append(records, inet);
}

void append_descriptors(std::vector<Record>& records) {
  image::DescriptorTable table;
  table.set_id(1);
  image::RegularFile regular;
  describe(*regular.mutable_open_file(), O_RDWR, table);
  regular.set_file_id(2);
  append(records, regular);
  append_pipes_and_sockets(records, table);
  image::EventFd event;
  describe(*event.mutable_open_file(), O_RDWR, table);
  append(records, event);
  image::TimerFd timer;
  describe(*timer.mutable_open_file(), O_RDWR, table);
  append(records, timer);
  image::SignalFd signal;
  describe(*signal.mutable_open_file(), O_RDWR, table);
  append(records, signal);
  image::Tty tty;
  describe(*tty.mutable_open_file(), O_RDWR, table);
  tty.set_path("/dev/pts/0");
  tty.set_termios(std::string(44, '\0'));
  tty.set_window_size(std::string(8, '\0'));
  append(records, tty);
  image::MemFd memfd;
  describe(*memfd.mutable_open_file(), O_RDWR, table);
  memfd.set_shared_memory_id(2);
  append(records, memfd);
  image::Epoll epoll;
  describe(*epoll.mutable_open_file(), O_RDWR, table);
  epoll.add_watches()->set_fd(0);
  epoll.mutable_watches(0)->set_open_file_id(event.open_file().id());
  append(records, epoll);
  image::FileLock lock;
  lock.set_kind(image::FileLock::POSIX);
  lock.set_open_file_id(regular.open_file().id());
  lock.set_pid(100);
  append(records, lock);
  append(records, table);
}

/// Of two hierarchies; the second task is in another cgroup than the root, its thread in yet another.
void append_cgroups(std::vector<Record>& records) {
  for (const uint32_t id : {1U, 2U, 3U}) {
    image::CgroupSet set;
    set.set_id(id);
    for (const char* controllers : {"pids", ""}) {
      image::CgroupPlace& place = *set.add_places();
      place.set_controllers(controllers);
      place.set_path(id == 1 ? "/sample" : id == 2 ? "/sample/inner" : "/elsewhere");
    }
    append(records, set);
  }
  for (const char* controllers : {"pids", ""}) {
    image::CgroupHierarchy hierarchy;
    hierarchy.set_controllers(controllers);
    hierarchy.set_top("/sample");
    for (const char* path : {"/sample", "/sample/inner", "/elsewhere"}) {
      image::CgroupDirectory& cgroup = *hierarchy.add_cgroups();
      cgroup.set_path(path);
      cgroup.set_mode(0755);
    }
    image::CgroupDirectory& inner = *hierarchy.mutable_cgroups(1);
    image::CgroupValue& limit = *inner.add_properties();
    limit.set_file("pids.max");
    limit.set_value("100");
    image::CgroupFileOwner& owner = *inner.add_owners();
    owner.set_file("cgroup.procs");
    owner.set_uid(1000);
    owner.set_mode(0644);
    append(records, hierarchy);
  }
}

}  // namespace

TempDirectory::TempDirectory() {
  path_ = (std::filesystem::temp_directory_path() / "godwit-test-XXXXXX").string();
  if (::mkdtemp(path_.data()) == nullptr) {
    throw errno_error("cannot make {}", path_);
  }
}

TempDirectory::~TempDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::vector<std::byte> noise(size_t pages, uint64_t seed) {
  std::vector<std::byte> bytes(pages * kPageSize);
  std::mt19937_64 random(seed);
  for (size_t i = 0; i < bytes.size(); i += sizeof(uint64_t)) {
    const uint64_t word = random();
    std::memcpy(bytes.data() + i, &word, sizeof(word));
  }
  return bytes;
}

std::vector<std::byte> text(size_t pages, uint64_t seed) {
  std::vector<std::byte> bytes(pages * kPageSize);
  for (size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<std::byte>('a' + (i / 64 + i / kPageSize + seed) % 26);
  }
  return bytes;
}

void append(std::vector<Record>& records, const google::protobuf::Message& message) {
  std::unique_ptr<google::protobuf::Message> copy(message.New());
  copy->CopyFrom(message);
  records.push_back({record_type_of(message), std::move(copy)});
}

std::vector<Record> sample_records(PageSink& sink) {
  std::vector<Record> records;
  append(records, header());
  append(records, task(100, 0, 1));
  append(records, second_task());
  append(records, zombie());
  append(records, mm(1, 1));
  append(records, mm(2, 2));
  append_memory(records, sink);
  append_shared_memory(records);
  append_files(records);
  image::SeccompFilter filter;
  filter.set_id(1);
  filter.set_instructions(std::string("\x06\x00\x00\x00\x00\x00\xff\x7f", 8));
  append(records, filter);
  append_descriptors(records);
  append_cgroups(records);
  return records;
}

void write_sample(const std::string& path, const WriterOptions& options) {
  const auto writer = CheckpointWriter::create_directory(path, options);
  for (const Record& record : sample_records(writer->pages())) {
    writer->add(*record.message);
  }
  writer->commit();
}

image::PageBlock MemoryPages::write_block(std::span<const std::byte> pages) {
  image::PageBlock block;
  block.set_offset(bytes_.size());
  block.set_stored_bytes(static_cast<uint32_t>(pages.size()));
  block.set_pages(static_cast<uint32_t>(pages.size() / kPageSize));
  block.set_hash(hash_bytes(pages));
  bytes_.insert(bytes_.end(), pages.begin(), pages.end());
  return block;
}

void MemoryPages::read_block(const image::PageBlock& block, std::span<std::byte> out) const {
  check_block(block, {bytes_.size()});
  unpack_block(block, std::span(bytes_).subspan(block.offset(), padded_bytes(block.stored_bytes())), out);
}

}  // namespace godwit

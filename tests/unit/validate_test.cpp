#include "images-format/validate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <functional>

#include "images-format/checkpoint.pb.h"
#include "images-format/descriptor.pb.h"
#include "images-format/epoll.pb.h"
#include "images-format/eventfd.pb.h"
#include "images-format/file.pb.h"
#include "images-format/file_lock.pb.h"
#include "images-format/inet_socket.pb.h"
#include "images-format/memfd.pb.h"
#include "images-format/memory.pb.h"
#include "images-format/mm.pb.h"
#include "images-format/pipe.pb.h"
#include "images-format/regular_file.pb.h"
#include "images-format/seccomp.pb.h"
#include "images-format/shared_memory.pb.h"
#include "images-format/task.pb.h"
#include "images-format/tty.pb.h"
#include "images-format/unix_socket.pb.h"
#include "images-format/validate_index.h"
#include "kernel/error.h"
#include "tests/unit/sample_checkpoint.h"

namespace godwit {
namespace {

using testing::AllOf;
using testing::HasSubstr;

/// The error's text after `damage` was done to the n-th Message of the sample; empty: it was accepted.
template <typename Message>
std::string verdict(const std::function<void(Message&)>& damage, size_t n = 0) {
  MemoryPages pages;
  std::vector<Record> records = sample_records(pages);
  for (Record& record : records) {
    if (record.type == record_type_of(Message::default_instance()) && n-- == 0) {
      damage(static_cast<Message&>(*record.message));
    }
  }
  try {
    validate(records, {pages.bytes().size()});
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

std::string verdict_of_task(const std::function<void(image::Task&)>& damage, size_t n = 0) {
  return verdict<image::Task>(damage, n);
}

std::string verdict_of_mm(const std::function<void(image::Mm&)>& damage, size_t n = 0) {
  return verdict<image::Mm>(damage, n);
}

TEST(Validate, TheSampleIsGood) {
  EXPECT_EQ(verdict<image::Checkpoint>([](auto&) {}), "");
}

TEST(Validate, UnknownFieldsAreNoFault) {
  EXPECT_EQ(verdict_of_task([](auto& t) { t.GetReflection()->MutableUnknownFields(&t)->AddVarint(4000, 1); }),
            "");
}

TEST(Validate, Headers) {
  const auto header = [](const std::function<void(image::Checkpoint&)>& damage) {
    return verdict<image::Checkpoint>(damage);
  };
  EXPECT_THAT(header([](auto& h) { h.set_format_version(99); }), HasSubstr("format version 99 is newer"));
  EXPECT_THAT(header([](auto& h) { h.set_format_version(0); }), HasSubstr("format version 0"));
  EXPECT_THAT(header([](auto& h) { h.set_machine("aarch64"); }), HasSubstr("aarch64"));
  EXPECT_THAT(header([](auto& h) { h.set_page_size(65536); }), HasSubstr("65536"));
  EXPECT_THAT(header([](auto& h) { h.set_uuid("short"); }), HasSubstr("uuid"));
  EXPECT_THAT(header([](auto& h) { h.set_xsave_size(100); }), HasSubstr("xsave"));
  EXPECT_THAT(header([](auto& h) { h.set_xsave_size(UINT32_MAX); }), HasSubstr("xsave"));
  EXPECT_THAT(header([](auto& h) { h.set_xsave_features(0); }), HasSubstr("xsave"));
  EXPECT_THAT(header([](auto& h) { h.set_root_pid(5); }), HasSubstr("root task 5"));
  EXPECT_THAT(header([](auto& h) { h.set_root_pid(101); }), HasSubstr("parent 0"));
  EXPECT_THAT(header([](auto& h) { h.mutable_vdso()->set_vdso_size(1UL << 40); }), HasSubstr("vdso"));
  EXPECT_THAT(header([](auto& h) { h.mutable_parent()->set_uuid("x"); }), HasSubstr("uuid of its parent"));
  EXPECT_THAT(header([](auto& h) { h.mutable_parent()->set_uuid("fedcba9876543210"); }),
              HasSubstr("path of its parent"));
  EXPECT_THAT(header([](auto& h) { h.set_pre_dump(true); }), HasSubstr("memory alone"));
  EXPECT_THAT(header([](auto& h) { h.set_monotonic_ns(1UL << 63); }), HasSubstr("clocks"));
  EXPECT_THAT(header([](auto& h) { h.set_boottime_ns(UINT64_MAX); }), HasSubstr("clocks"));
}

TEST(Validate, TheTree) {
  EXPECT_THAT(verdict_of_task([](auto& t) { t.set_parent(101); }, 1), HasSubstr("among its own ancestors"));
  EXPECT_THAT(verdict_of_task([](auto& t) { t.set_parent(103); }, 1), HasSubstr("zombie"));
  EXPECT_THAT(verdict_of_task([](auto& t) { t.set_parent(77); }, 1),
              AllOf(HasSubstr("task 101"), HasSubstr("parent 77")));
  EXPECT_THAT(verdict_of_task([](auto& t) { t.set_parent(0); }, 1), HasSubstr("task 101"));
  EXPECT_THAT(verdict_of_task([](auto& t) { t.set_pid(0, 100); }, 1), HasSubstr("task 100 is there twice"));
  EXPECT_THAT(verdict_of_task([](auto& t) { t.clear_pid(); }, 1), HasSubstr("task 0"));
  EXPECT_THAT(verdict_of_task([](auto& t) { t.set_pid(0, -4); }, 1), HasSubstr("task -4"));
  EXPECT_THAT(verdict_of_task([](auto& t) { t.set_pid(0, 1 << 23); }, 1), HasSubstr("impossible"));
  EXPECT_THAT(verdict_of_task([](auto& t) { t.set_session(102); }), HasSubstr("number of a thread"));
  EXPECT_THAT(verdict_of_task([](auto& t) { t.set_session(-1); }), HasSubstr("task 100"));
  EXPECT_THAT(verdict_of_task([](auto& t) { t.set_session(99); }), HasSubstr("session"));
  EXPECT_THAT(verdict_of_task([](auto& t) { t.mutable_filesystem()->set_umask(077); }), HasSubstr("umask"));
}

TEST(Validate, Tasks) {
  EXPECT_THAT(verdict_of_task([](auto& t) { t.set_state(static_cast<image::Task::State>(9)); }),
              HasSubstr("state 9"));
  EXPECT_THAT(verdict_of_task([](auto& t) { t.set_mm_id(9); }), HasSubstr("task 100: mm 9"));
  EXPECT_THAT(verdict_of_task([](auto& t) { t.set_mm_id(2); }), HasSubstr("shares memory"));
  EXPECT_THAT(verdict_of_task([](auto& t) { t.set_descriptor_table_id(9); }),
              HasSubstr("descriptor table 9"));
  EXPECT_THAT(verdict_of_task([](auto& t) { t.mutable_filesystem()->set_cwd("here"); }),
              HasSubstr("working directory"));
  EXPECT_THAT(verdict_of_task([](auto& t) { t.clear_threads(); }), HasSubstr("no threads"));
  EXPECT_THAT(verdict_of_task([](auto& t) { t.set_mm_id(1); }, 2), HasSubstr("task 103"));
  EXPECT_THAT(verdict_of_task([](auto& t) { t.set_exit_status(1 << 20); }, 2), HasSubstr("exit status"));
  EXPECT_THAT(
      verdict_of_task([](auto& t) { t.mutable_signal_actions()->mutable_action(0)->set_signal(9); }, 1),
      HasSubstr("signal 9"));
  EXPECT_THAT(verdict_of_task([](auto& t) { t.mutable_posix_timers(0)->set_thread(100); }, 1),
              HasSubstr("timer 0"));
  EXPECT_THAT(verdict_of_task([](auto& t) { t.mutable_interval_timers(0)->set_which(3); }, 1),
              HasSubstr("timer 3"));
  EXPECT_THAT(verdict_of_task([](auto& t) { t.mutable_resource_limits(0)->set_resource(99); }),
              HasSubstr("limit 99"));
  EXPECT_THAT(verdict_of_task([](auto& t) { t.mutable_resource_limits(0)->set_soft(5000); }),
              HasSubstr("above"));
  EXPECT_THAT(verdict_of_task([](auto& t) { t.mutable_pending_signals(0)->set_siginfo("x"); }, 1),
              HasSubstr("pending signal"));
}

TEST(Validate, Threads) {
  const auto worker = [](const std::function<void(image::Thread&)>& damage) {
    return verdict_of_task([&](image::Task& t) { damage(*t.mutable_threads(1)); }, 1);
  };
  EXPECT_THAT(worker([](auto& t) { t.mutable_registers()->add_general(1); }),
              AllOf(HasSubstr("task 101: thread 102"), HasSubstr("28 general registers")));
  EXPECT_THAT(worker([](auto& t) { t.mutable_registers()->set_xsave("x"); }),
              HasSubstr("xsave area has 1 bytes"));
  EXPECT_THAT(worker([](auto& t) { t.mutable_registers()->mutable_xsave()->at(513) = 1; }),
              HasSubstr("components"));
  EXPECT_THAT(worker([](auto& t) { t.mutable_registers()->mutable_xsave()->at(527) = '\x80'; }),
              HasSubstr("compacted"));
  EXPECT_THAT(worker([](auto& t) { t.set_tid(0, 101); }), HasSubstr("twice"));
  EXPECT_THAT(worker([](auto& t) { t.set_tid(0, 103); }), HasSubstr("task of this number"));
  EXPECT_THAT(worker([](auto& t) { t.add_tid(2); }), HasSubstr("pid namespaces"));
  EXPECT_THAT(worker([](auto& t) { t.mutable_seccomp()->set_filter_ids(0, 9); }),
              HasSubstr("seccomp filter 9"));
  EXPECT_THAT(worker([](auto& t) { t.mutable_seccomp()->clear_filter_ids(); }), HasSubstr("seccomp mode"));
  EXPECT_THAT(worker([](auto& t) { t.clear_credentials(); }), HasSubstr("credentials"));
  EXPECT_THAT(worker([](auto& t) { t.set_comm("sixteen bytes 16"); }), HasSubstr("name"));
  EXPECT_THAT(worker([](auto& t) { t.mutable_scheduling()->set_nice(20); }), HasSubstr("nice"));
  EXPECT_THAT(worker([](auto& t) { t.mutable_scheduling()->set_affinity(std::string(4096, 'x')); }),
              HasSubstr("affinity"));
  EXPECT_THAT(worker([](auto& t) { t.mutable_rseq()->set_size(UINT32_MAX); }), HasSubstr("rseq"));
  EXPECT_THAT(worker([](auto& t) { t.mutable_robust_list()->set_length(1); }), HasSubstr("robust"));
}

TEST(Validate, Mappings) {
  const auto heap = [](const std::function<void(image::Mapping&)>& damage) {
    return verdict_of_mm([&](image::Mm& m) { damage(*m.mutable_mappings(1)); });
  };
  EXPECT_THAT(heap([](auto& m) { m.set_end(m.start()); }),
              AllOf(HasSubstr("mm 1: mapping 10000000-"), HasSubstr("range")));
  EXPECT_THAT(heap([](auto& m) { m.set_end(UINT64_MAX & ~0xfffUL); }), HasSubstr("range"));
  EXPECT_THAT(heap([](auto& m) { m.set_end(m.end() + 1); }), HasSubstr("whole pages"));
  EXPECT_THAT(heap([](auto& m) { m.set_start(0x401000); }), HasSubstr("overlaps"));
  EXPECT_THAT(heap([](auto& m) { m.set_prot(8); }), HasSubstr("protection"));
  EXPECT_THAT(heap([](auto& m) { m.set_offset(1); }), HasSubstr("offset"));
  EXPECT_THAT(heap([](auto& m) { m.set_offset(UINT64_MAX & ~0xfffUL); }), HasSubstr("offset"));
  EXPECT_THAT(heap([](auto& m) { m.set_name(std::string(200, 'x')); }), HasSubstr("name"));
  EXPECT_THAT(heap([](auto& m) { m.add_advice(100000); }), HasSubstr("advice"));
  EXPECT_THAT(heap([](auto& m) { m.set_file_id(1); }), HasSubstr("contradicts"));
  EXPECT_THAT(heap([](auto& m) { m.set_shared(true); }), HasSubstr("shared"));
  EXPECT_THAT(heap([](auto& m) { m.set_backing(static_cast<image::Mapping::Backing>(9)); }),
              HasSubstr("backing 9"));
  EXPECT_THAT(heap([](auto& m) { m.set_end(m.start() + 0x5000); }), HasSubstr("no private mapping"));
  EXPECT_THAT(verdict_of_mm([](auto& m) { m.mutable_mappings(0)->set_file_id(9); }), HasSubstr("file 9"));
  EXPECT_THAT(verdict_of_mm([](auto& m) { m.mutable_mappings(2)->set_shared_memory_id(9); }),
              HasSubstr("memory 9"));
  EXPECT_THAT(verdict_of_mm([](auto& m) { m.set_exe_file_id(9); }), HasSubstr("file 9"));
  EXPECT_THAT(verdict_of_mm([](auto& m) { m.set_memory_object(9); }), HasSubstr("memory object 9"));
  EXPECT_THAT(verdict_of_mm([](auto& m) { m.set_memory_object(2); }), HasSubstr("belongs to mm 1"));
  EXPECT_THAT(verdict_of_mm([](auto& m) { m.set_id(9); }), HasSubstr("mm 1 isn't there"));
  EXPECT_THAT(verdict_of_mm([](auto& m) { m.add_auxv(1); }), HasSubstr("auxv"));
}

TEST(Validate, MemoryObjects) {
  const auto object = [](const std::function<void(image::MemoryObject&)>& damage, size_t n = 0) {
    return verdict<image::MemoryObject>(damage, n);
  };
  EXPECT_THAT(object([](auto& o) { o.set_run_count(1, UINT64_MAX); }), HasSubstr("memory object 1"));
  EXPECT_THAT(object([](auto& o) { o.set_run_count(1, 1UL << 40); }), HasSubstr("no private mapping"));
  EXPECT_THAT(object([](auto& o) { o.set_run_kind(1, image::PAGE_IN_PARENT); }),
              HasSubstr("a parent that isn't named"));
  EXPECT_THAT(object([](auto& o) { o.set_run_kind(1, image::PAGE_INHERITED); }), HasSubstr("parent task"));
  EXPECT_THAT(object([](auto& o) { o.set_run_count(0, 10); }, 1), HasSubstr("parent task"));
  EXPECT_THAT(object([](auto& o) { o.mutable_blocks(1)->set_offset(4096); }), HasSubstr("overlaps"));
  EXPECT_THAT(object([](auto& o) { o.mutable_blocks(0)->set_offset(1UL << 40); }),
              HasSubstr("behind the end"));
  EXPECT_THAT(object([](auto& o) { o.mutable_blocks(0)->set_offset(1); }), HasSubstr("begin on a page"));
  EXPECT_THAT(object([](auto& o) { o.set_run_first(0, 500); }, 2),
              HasSubstr("shared memory 1: pages behind the end"));
  EXPECT_THAT(object([](auto& o) { o.set_run_first(0, 500); }, 3), HasSubstr("file 2: pages behind the end"));
  EXPECT_THAT(object([](auto& o) { o.set_id(9); }, 4), HasSubstr("memory object 5 isn't there"));
  EXPECT_THAT(object(
                  [](auto& o) {
                    o.clear_blocks();
                    o.clear_run_first();
                    o.clear_run_count();
                    o.clear_run_kind();
                  },
                  3),
              HasSubstr("belongs to no block"));
  EXPECT_THAT(verdict<image::SharedMemory>([](auto& s) { s.set_size(UINT64_MAX); }), HasSubstr("size"));
}

TEST(Validate, FilesAndDescriptors) {
  EXPECT_THAT(verdict<image::File>([](auto& f) { f.set_path("relative"); }), HasSubstr("file 1"));
  EXPECT_THAT(verdict<image::File>([](auto& f) { f.set_path(std::string("/a\0b", 4)); }), HasSubstr("path"));
  EXPECT_THAT(verdict<image::File>([](auto& f) { f.set_mode(0644); }, 1), HasSubstr("mode"));
  EXPECT_THAT(verdict<image::File>([](auto& f) { f.mutable_ghost()->set_memory_object(9); }),
              HasSubstr("object 9"));
  const auto table = [](const std::function<void(image::DescriptorTable&)>& damage) {
    return verdict<image::DescriptorTable>(damage);
  };
  EXPECT_THAT(table([](auto& t) { t.mutable_descriptors(1)->set_fd(0); }), HasSubstr("out of order"));
  EXPECT_THAT(table([](auto& t) { t.mutable_descriptors(1)->set_fd(UINT32_MAX); }),
              HasSubstr("out of order"));
  EXPECT_THAT(table([](auto& t) { t.mutable_descriptors(1)->set_open_file_id(99); }),
              HasSubstr("open file 99"));
  EXPECT_THAT(verdict<image::RegularFile>([](auto& r) { r.set_file_id(9); }), HasSubstr("file 9"));
  EXPECT_THAT(verdict<image::RegularFile>([](auto& r) { r.mutable_open_file()->set_id(2); }),
              HasSubstr("twice"));
  EXPECT_THAT(verdict<image::RegularFile>([](auto& r) { r.clear_open_file(); }), HasSubstr("open file 0"));
  EXPECT_THAT(verdict<image::Pipe>([](auto& p) { p.set_capacity(5); }), HasSubstr("capacity"));
  EXPECT_THAT(verdict<image::Pipe>([](auto& p) { p.set_data(std::string(65537, 'x')); }),
              HasSubstr("capacity"));
  EXPECT_THAT(verdict<image::Pipe>([](auto& p) { p.add_packets(UINT32_MAX); }), HasSubstr("packets"));
  EXPECT_THAT(verdict<image::Pipe>([](auto& p) { p.set_fifo_file_id(1); }), HasSubstr("FIFO"));
  EXPECT_THAT(verdict<image::EventFd>([](auto& e) { e.set_count(UINT64_MAX); }), HasSubstr("count"));
  EXPECT_THAT(verdict<image::UnixSocket>([](auto& s) { s.set_type(99); }), HasSubstr("socket type 99"));
  EXPECT_THAT(verdict<image::UnixSocket>([](auto& s) { s.mutable_ends(0)->set_name(std::string(200, 'x')); }),
              HasSubstr("name"));
  EXPECT_THAT(verdict<image::InetSocket>([](auto& s) { s.set_local_address("x"); }), HasSubstr("address"));
  EXPECT_THAT(verdict<image::InetSocket>([](auto& s) { s.set_family(99); }), HasSubstr("family 99"));
  EXPECT_THAT(verdict<image::Tty>([](auto& t) { t.set_termios("x"); }), HasSubstr("settings"));
  EXPECT_THAT(verdict<image::MemFd>([](auto& m) { m.set_shared_memory_id(9); }),
              HasSubstr("shared memory 9"));
  EXPECT_THAT(verdict<image::FileLock>([](auto& l) { l.set_pid(9); }), HasSubstr("task 9"));
  EXPECT_THAT(verdict<image::FileLock>([](auto& l) { l.set_length(UINT64_MAX); }), HasSubstr("range"));
  EXPECT_THAT(verdict<image::SeccompFilter>([](auto& f) { f.set_instructions("x"); }),
              HasSubstr("seccomp filter 1"));
}

TEST(Validate, Connections) {
  const auto connection = [](const std::function<void(image::InetSocket&)>& damage) {
    return verdict<image::InetSocket>([&](image::InetSocket& socket) {
      socket.set_listening(false);
      socket.set_remote_address(socket.local_address());
      socket.mutable_connection()->set_state(1);
      damage(socket);
    });
  };
  EXPECT_EQ(connection([](auto&) {}), "");
  EXPECT_THAT(connection([](auto& s) { s.set_listening(true); }), HasSubstr("can have none"));
  EXPECT_THAT(connection([](auto& s) { s.set_type(2); }), HasSubstr("can have none"));
  EXPECT_THAT(connection([](auto& s) { s.clear_remote_address(); }), HasSubstr("without an address"));
  EXPECT_THAT(connection([](auto& s) { s.set_remote_address("x"); }), HasSubstr("address has 1 bytes"));
  for (const uint32_t state : {0U, 3U, 6U, 10U, 12U, 99U, 257U}) {
    EXPECT_THAT(connection([&](auto& s) { s.mutable_connection()->set_state(state); }),
                HasSubstr("in state " + std::to_string(state)));
  }
  EXPECT_THAT(connection([](auto& s) { s.mutable_connection()->set_state(7); }),
              HasSubstr("without an address"));
  EXPECT_THAT(connection([](auto& s) { s.mutable_connection()->set_unsent(1); }), HasSubstr("1 of 0 bytes"));
  EXPECT_THAT(connection([](auto& s) { s.mutable_connection()->set_send_scale(15); }), HasSubstr("scales"));
  EXPECT_THAT(connection([](auto& s) { s.mutable_connection()->set_receive_scale(15); }),
              HasSubstr("scales"));
  EXPECT_THAT(connection([](auto& s) { s.mutable_connection()->set_segment_size(65536); }),
              HasSubstr("segments"));
}

TEST(Validate, Epolls) {
  EXPECT_THAT(verdict<image::Epoll>([](auto& e) { e.mutable_watches(0)->set_open_file_id(99); }),
              HasSubstr("open file 99"));
  EXPECT_THAT(verdict<image::Epoll>([](auto& e) { *e.add_watches() = e.watches(0); }), HasSubstr("twice"));
  EXPECT_THAT(
      verdict<image::Epoll>([](auto& e) { e.mutable_watches(0)->set_open_file_id(e.open_file().id()); }),
      HasSubstr("circle"));
}

TEST(Validate, TwoHeadersOrNone) {
  MemoryPages pages;
  std::vector<Record> records = sample_records(pages);
  append(records, *records.front().message);
  EXPECT_THROW(validate(records, PayloadSizes{pages.bytes().size()}), Error);
  records.pop_back();
  EXPECT_NO_THROW(validate(records, PayloadSizes{pages.bytes().size()}));
  EXPECT_THROW(validate(records, PayloadSizes{pages.bytes().size() + kPageSize}), Error);
  records.erase(records.begin());
  EXPECT_THROW(validate(records, PayloadSizes{pages.bytes().size()}), Error);
  EXPECT_THROW(validate({}, PayloadSizes{0}), Error);
}

TEST(Validate, WhatCanBeOpenedOrMapped) {
  // The sample's first file is the executable, which is mapped.
  const auto file = [](size_t n, const std::function<void(image::File&)>& damage) {
    return verdict<image::File>(damage, n);
  };
  EXPECT_THAT(file(0, [](auto& f) { f.set_mode(S_IFIFO | 0600); }), HasSubstr("regular file"));
  EXPECT_THAT(file(0, [](auto& f) { f.set_mode(S_IFCHR | 0600); }), HasSubstr("regular file"));
  EXPECT_THAT(verdict<image::RegularFile>([](auto& f) { f.set_file_id(3); }), HasSubstr("can't be opened"))
      << "the third is a FIFO";
  const auto plain = [](uint32_t mode, unsigned minor) {
    image::File record;
    record.set_mode(mode);
    record.set_rdev(makedev(1, minor));
    return has_plain_content(record);
  };
  EXPECT_FALSE(plain(S_IFBLK | 0600, 3));
  EXPECT_FALSE(plain(S_IFCHR | 0600, 1)) << "/dev/mem";
  EXPECT_TRUE(plain(S_IFCHR | 0600, 3)) << "/dev/null";
}

}  // namespace
}  // namespace godwit

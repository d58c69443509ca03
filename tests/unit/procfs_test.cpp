#include "kernel/procfs.h"

#include <gmock/gmock.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <csignal>

#include "kernel/error.h"

namespace godwit::procfs {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::string stat_of(const std::string& comm) {
  return "4711 (" + comm +
         ") T 41 4700 4699 34816 4711 1077936128 98 0 1 0 7 9 0 0 20 0 3 0 123456 8192000 512 "
         "18446744073709551615 94000000000000 94000000000100 140720000000000 0 0 0 0 4096 81920 0 0 0 17 1 0 "
         "0 0 "
         "0 0 94000000000200 94000000000300 94000000001000 140720000000500 140720000000600 140720000000600 "
         "140720000000700 33280\n";
}

TEST(ProcStat, EveryField) {
  const Stat stat = parse_stat(stat_of("redis-server"));
  EXPECT_EQ(stat.pid, 4711);
  EXPECT_EQ(stat.comm, "redis-server");
  EXPECT_EQ(stat.state, 'T');
  EXPECT_EQ(stat.parent, 41);
  EXPECT_EQ(stat.process_group, 4700);
  EXPECT_EQ(stat.session, 4699);
  EXPECT_EQ(stat.flags, 1077936128U);
  EXPECT_EQ(stat.threads, 3U);
  EXPECT_EQ(stat.start_time, 123456U);
  EXPECT_EQ(stat.start_code, 94000000000000U);
  EXPECT_EQ(stat.end_code, 94000000000100U);
  EXPECT_EQ(stat.start_stack, 140720000000000U);
  EXPECT_EQ(stat.exit_signal, 17);
  EXPECT_EQ(stat.start_data, 94000000000200U);
  EXPECT_EQ(stat.end_data, 94000000000300U);
  EXPECT_EQ(stat.start_brk, 94000000001000U);
  EXPECT_EQ(stat.arg_start, 140720000000500U);
  EXPECT_EQ(stat.env_end, 140720000000700U);
  EXPECT_EQ(stat.exit_code, 0x8200);
}

TEST(ProcStat, NameMayLookLikeFields) {
  for (const char* comm : {"a) R 1 (b", ")", "(", "", "a b", ") Z 1 1 1", "a\nb) S"}) {
    const Stat stat = parse_stat(stat_of(comm));
    EXPECT_EQ(stat.comm, comm);
    EXPECT_EQ(stat.state, 'T') << comm;
    EXPECT_EQ(stat.parent, 41) << comm;
  }
}

TEST(ProcStat, BrokenTextIsAnError) {
  for (const char* text : {"", "1", "1 (a", "1 (a)", "1 (a) S", "1 )a( S 1 2 3", "1 (a) S x 2 3"}) {
    EXPECT_THROW((void)parse_stat(text), Error) << text;
  }
  const std::string whole = stat_of("x");
  EXPECT_THROW((void)parse_stat(std::string_view(whole).substr(0, whole.size() - 8)), Error);
}

TEST(ProcStat, OfThisProcess) {
  const Stat stat = read_stat(getpid());
  EXPECT_EQ(stat.pid, getpid());
  EXPECT_EQ(stat.parent, getppid());
  EXPECT_EQ(stat.state, 'R');
}

TEST(ProcStatus, Fields) {
  const Status status = parse_status(
      "Name:\todd\\nTgid:\\t9\nUmask:\t0027\nState:\tS (sleeping)\nTgid:\t77\nNgid:\t0\nPid:\t78\n"
      "PPid:\t1\nTracerPid:\t12\nUid:\t1000\t1001\t1002\t1003\nGid:\t5\t6\t7\t8\nFDSize:\t64\n"
      "Groups:\t4 24 1000 \nNStgid:\t77\t3\nNSpid:\t78\t4\nNSpgid:\t77\t3\nNSsid:\t77\t3\n"
      "VmLck:\t     128 kB\nThreads:\t2\nCapInh:\t0000000000000001\nCapPrm:\t000001ffffffffff\n"
      "CapEff:\t0000000000000002\nCapBnd:\t000001fffeffffff\nCapAmb:\t0000000000000004\n"
      "NoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t3\nx86_Thread_features:\tshstk wrss\n"
      "x86_Thread_features_locked:\t\n");
  EXPECT_EQ(status.umask, 027U);
  EXPECT_EQ(status.thread_group, 77);
  EXPECT_EQ(status.tracer, 12);
  EXPECT_THAT(status.uids, ElementsAre(1000, 1001, 1002, 1003));
  EXPECT_THAT(status.gids, ElementsAre(5, 6, 7, 8));
  EXPECT_THAT(status.groups, ElementsAre(4, 24, 1000));
  EXPECT_THAT(status.namespace_pids, ElementsAre(78, 4));
  EXPECT_EQ(status.locked_kib, 128U);
  EXPECT_EQ(status.inheritable, 1U);
  EXPECT_EQ(status.permitted, 0x1ffffffffffU);
  EXPECT_EQ(status.effective, 2U);
  EXPECT_EQ(status.bounding, 0x1fffeffffffU);
  EXPECT_EQ(status.ambient, 4U);
  EXPECT_TRUE(status.no_new_privs);
  EXPECT_EQ(status.seccomp_mode, 2);
  EXPECT_EQ(status.seccomp_filters, 3U);
  EXPECT_TRUE(status.shadow_stack);
}

TEST(ProcStatus, NoGroupsNoShadowStack) {
  const Status status = parse_status("Groups:\t \nx86_Thread_features:\t\nVmLck:\t0 kB\n");
  EXPECT_THAT(status.groups, IsEmpty());
  EXPECT_FALSE(status.shadow_stack);
}

TEST(ProcMaps, SmapsWithFlags) {
  const std::vector<Map> maps = parse_maps(
      "55d0c0000000-55d0c0021000 rw-p 00000000 00:00 0                          [heap]\n"
      "Size:                132 kB\nRss:                   4 kB\nFilePmdMapped:         0 kB\n"
      "VmFlags: rd wr mr mw me ac lo dd \n"
      "7f0000000000-7f0000002000 r-xs 00003000 fe:1a 1234567                    /srv/a b (deleted)\n"
      "Size:                  8 kB\nVmFlags: rd ex sh mr me ms sl\n"
      "7f0000002000-7f0000003000 ---p 00000000 00:00 0\n"
      "VmFlags: mr mw me gd nh \n"
      "7fff00000000-7fff00001000 r--p 00000000 00:00 0                          [vvar]\n"
      "VmFlags: rd mr pf io de dd\n");
  ASSERT_EQ(maps.size(), 4U);
  EXPECT_EQ(maps[0].start, 0x55d0c0000000U);
  EXPECT_EQ(maps[0].end, 0x55d0c0021000U);
  EXPECT_EQ(maps[0].prot, PROT_READ | PROT_WRITE);
  EXPECT_EQ(maps[0].path, "[heap]");
  EXPECT_TRUE(maps[0].has(VmFlag::Locked));
  EXPECT_TRUE(maps[0].has(VmFlag::DontDump));
  EXPECT_FALSE(maps[0].has(VmFlag::GrowsDown));
  EXPECT_TRUE(maps[1].shared);
  EXPECT_EQ(maps[1].prot, PROT_READ | PROT_EXEC);
  EXPECT_EQ(maps[1].offset, 0x3000U);
  EXPECT_EQ(maps[1].device, makedev(0xfe, 0x1a));
  EXPECT_EQ(maps[1].inode, 1234567U);
  EXPECT_EQ(maps[1].path, "/srv/a b (deleted)");
  EXPECT_TRUE(maps[1].has(VmFlag::Sealed));
  EXPECT_FALSE(maps[1].has(VmFlag::MayWrite));
  EXPECT_EQ(maps[2].prot, 0);
  EXPECT_EQ(maps[2].path, "");
  EXPECT_TRUE(maps[2].has(VmFlag::GrowsDown));
  EXPECT_TRUE(maps[3].has(VmFlag::PfnMap));
}

TEST(ProcMaps, BrokenTextIsAnError) {
  for (const char* text : {"\n", "1000\n", "1000-2000\n", "1000-2000 rw", "x\n"}) {
    EXPECT_THROW((void)parse_maps(text), Error) << text;
  }
}

TEST(ProcMaps, OfThisProcess) {
  const auto here = reinterpret_cast<uint64_t>(&stat_of);
  bool found = false;
  for (const Map& map : read_smaps(getpid())) {
    found = found || (map.start <= here && here < map.end && map.has(VmFlag::Executable));
  }
  EXPECT_TRUE(found);
}

TEST(ProcTimers, Kinds) {
  const std::vector<Timer> timers = parse_timers(
      "ID: 0\nsignal: 14/0000000000000000\nnotify: signal/pid.50\nClockID: 1\n"
      "ID: 7\nsignal: 60/00007fffdeadbeef\nnotify: signal/tid.51\nClockID: -6\n"
      "ID: 9\nsignal: 0/(null)\nnotify: none/pid.0\nClockID: 0\n");
  ASSERT_EQ(timers.size(), 3U);
  EXPECT_EQ(timers[0].signal, SIGALRM);
  EXPECT_EQ(timers[0].notify, SIGEV_SIGNAL);
  EXPECT_EQ(timers[1].id, 7);
  EXPECT_EQ(timers[1].value, 0x7fffdeadbeefU);
  EXPECT_EQ(timers[1].notify, SIGEV_THREAD_ID);
  EXPECT_EQ(timers[1].target, 51);
  EXPECT_EQ(timers[1].clock, -6);
  EXPECT_EQ(timers[2].notify, SIGEV_NONE);
  EXPECT_EQ(timers[2].value, 0U);
  EXPECT_THAT(parse_timers(""), IsEmpty());
}

TEST(ProcChildren, Numbers) {
  EXPECT_THAT(parse_pids("12 345 6 "), ElementsAre(12, 345, 6));
  EXPECT_THAT(parse_pids(""), IsEmpty());
  EXPECT_THROW((void)parse_pids("12 x"), Error);
}

TEST(ProcGone, IsTold) {
  try {
    (void)read_stat(0x7ffffff0);
    FAIL();
  } catch (const Error& e) {
    EXPECT_TRUE(gone(e));
  }
}

}  // namespace
}  // namespace godwit::procfs

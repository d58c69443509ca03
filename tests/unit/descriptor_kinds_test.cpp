#include "tests/unit/descriptor_kinds.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <map>
#include <set>
#include <string_view>

#include "dump/descriptor_kind.h"
#include "images-format/record.h"
#include "restore/descriptor_kind.h"

namespace godwit::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

/// What a restore can make a dump must be able to keep, and the other way round.
TEST(DescriptorRegistries, HaveEveryRecordOfOpenFiles) {
  std::set<std::string_view> kept;
  for (const collecting::Kind* kind : collecting::kKinds) {
    EXPECT_TRUE(kept.insert(kind->name).second) << kind->name << " is twice in dump/descriptor_kind.h";
  }
  std::map<RecordType, std::string_view> made;
  for (const making::Kind* kind : making::kKinds) {
    EXPECT_TRUE(made.emplace(kind->type, kind->name).second)
        << kind->name << " is twice in restore/descriptor_kind.h";
    EXPECT_TRUE(kept.contains(kind->name)) << kind->name << " isn't in dump/descriptor_kind.h";
  }
  EXPECT_EQ(kept.size(), made.size());
  for (const RecordKind& record : record_kinds()) {
    EXPECT_EQ(made.contains(record.type), record.open_files != nullptr)
        << record.name << " and restore/descriptor_kind.h";
  }
}

TEST_F(DescriptorKinds, WhatIsNotSupportedIsRefusedByName) {
  EXPECT_THAT(refused([] { REQUIRE(::syscall(SYS_userfaultfd, UFFD_USER_MODE_ONLY) == 3); }),
              ::testing::AllOf(HasSubstr("descriptor 3 of task"), HasSubstr("anon_inode:[userfaultfd]")));
  EXPECT_THAT(refused([] { REQUIRE(::open("/proc/self/status", O_RDONLY) == 3); }), HasSubstr("/status"));
  EXPECT_THAT(refused([] {
                REQUIRE(::epoll_create1(0) == 3 && ::eventfd(0, 0) == 4);
                epoll_event event{};
                event.events = EPOLLIN;
                REQUIRE(::epoll_ctl(3, EPOLL_CTL_ADD, 4, &event) == 0);
                const pid_t parent = ::getpid();
                if (::fork() == 0) {
                  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
                  if (::getppid() == parent) {
                    ::pause();  // holds the eventfd, outside what is dumped
                  }
                  ::_exit(0);
                }
                REQUIRE(::close(4) == 0);
              }),
              HasSubstr("nobody in the tree"));
  EXPECT_THAT(refused([] {
                int pair[2];
                REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
                REQUIRE(::fcntl(pair[0], F_SETOWN, ::getppid()) == 0);
              }),
              HasSubstr("signals somebody outside the tree"));
  EXPECT_THAT(refused([] {
                REQUIRE(::socket(AF_INET, SOCK_DGRAM, 0) == 3);
                ip_mreq_source join{};
                join.imr_multiaddr.s_addr = htonl(0xefff0103);
                join.imr_interface.s_addr = htonl(INADDR_LOOPBACK);
                join.imr_sourceaddr.s_addr = htonl(INADDR_LOOPBACK);
                REQUIRE(::setsockopt(3, IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP, &join, sizeof join) == 0);
              }),
              HasSubstr("in multicast group 239.255.1.3 with a filter of sources"));
  EXPECT_THAT(refused([] { REQUIRE(::socket(AF_INET, SOCK_RAW, IPPROTO_ICMP) == 3 || errno == EPERM); }),
              ::testing::AnyOf(IsEmpty(), HasSubstr("internet socket of type 3")));
}

}  // namespace
}  // namespace godwit::testing

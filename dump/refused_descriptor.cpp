#include <sys/socket.h>

#include <algorithm>
#include <array>

#include "dump/descriptor_kind.h"
#include "dump/support.h"
#include "kernel/error.h"

namespace godwit {

namespace {

constexpr std::string_view kInFlight = "requests in flight can't be read";
constexpr std::string_view kNotYet = "not looked after yet";

/// By the text of their links. What has no row is refused all the same, without a reason.
constexpr Refused kRefusedLinks[] = {
    {"anon_inode:[io_uring]", "io_uring", kInFlight},
    {"anon_inode:[userfaultfd]", "userfaultfd", "faults that wait for an answer can't be read"},
    {"anon_inode:[fanotify]", "fanotify", kNotYet},
    {"anon_inode:[pidfd]", "pidfd", kNotYet},
    {"pidfd:[", "pidfd", kNotYet},
    {"anon_inode:[perf_event]", "perf event", "counters can't be set"},
    {"anon_inode:bpf", "BPF object", "programs can't be read back in full, maps aren't looked after"},
    {"anon_inode:[landlock-ruleset]", "Landlock ruleset", "its rules can't be read"},
    {"anon_inode:seccomp notify", "seccomp listener", "calls that wait for an answer can't be read"},
    {"anon_inode:[fscontext]", "file system context", "what has been set in it can't be read"},
    {"anon_inode:kvm", "virtual machine (KVM)", "its state belongs to whoever runs it"},
    {"/secretmem", "memfd_secret", "nobody but the task itself can read it"},
    {"/dev/net/tun", "tun or tap descriptor", "frames that wait can't be read without taking them"},
    {"/dev/fuse", "FUSE connection", kInFlight},
    {"net:[", "descriptor of a namespace", kNotYet},
    {"mnt:[", "descriptor of a namespace", kNotYet},
    {"uts:[", "descriptor of a namespace", kNotYet},
    {"ipc:[", "descriptor of a namespace", kNotYet},
    {"pid:[", "descriptor of a namespace", kNotYet},
    {"user:[", "descriptor of a namespace", kNotYet},
    {"time:[", "descriptor of a namespace", kNotYet},
    {"cgroup:[", "descriptor of a namespace", kNotYet},
};

struct RefusedFamily {
  int family;
  std::string_view object;
  std::string_view why;
};

constexpr RefusedFamily kRefusedFamilies[] = {
    {AF_NETLINK, "netlink socket", kNotYet},
    {AF_PACKET, "packet socket", kNotYet},
    {AF_ALG, "crypto socket (AF_ALG)", "keys can't be read"},
    {AF_VSOCK, "vsock socket", "its peer is another machine, which can't be told"},
    {AF_XDP, "XDP socket", "its rings are shared with a device"},
    {AF_BLUETOOTH, "Bluetooth socket", "its peer is a device"},
    {AF_CAN, "CAN socket", kNotYet},
    {AF_TIPC, "TIPC socket", kNotYet},
    {AF_KEY, "IPsec key socket", kNotYet},
};

/// A hint, where there is one.
std::string reason(std::string_view why) {
  return why == kNotYet ? std::string() : std::string(why);
}

}  // namespace

Error collecting::refusal_of(const Description& description) {
  const auto* family = std::ranges::find(kRefusedFamilies, description.socket_domain, &RefusedFamily::family);
  if (family != std::end(kRefusedFamilies)) {
    return refusal("{}: {}", description.name(), family->object).hint(reason(family->why));
  }
  if (description.socket_domain >= 0) {
    return refusal("{}, a socket of address family {},", description.name(), description.socket_domain);
  }
  const auto* link = std::ranges::find_if(
      kRefusedLinks, [&](const Refused& refused) { return description.link.starts_with(refused.shows_as); });
  if (link != std::end(kRefusedLinks)) {
    return refusal("{}", description.name()).hint(reason(link->why));
  }
  return refusal("{}", description.name());
}

std::vector<SupportRow> descriptor_support() {
  using enum SupportRow::Fate;
  std::vector<SupportRow> rows;
  for (const collecting::Kind* kind : collecting::kKinds) {
    rows.push_back({kind->name, Kept, kind->kept});
  }
  const auto refused = [&](std::string_view object, std::string_view why) {
    if (std::ranges::find(rows, object, &SupportRow::object) == rows.end()) {
      rows.push_back({object, Refused, why});
    }
  };
  for (const godwit::Refused& link : kRefusedLinks) {
    refused(link.object, link.why);
  }
  for (const RefusedFamily& family : kRefusedFamilies) {
    refused(family.object, family.why);
  }
  rows.push_back({"anything else", Refused, "named by the text of its link in /proc/PID/fd"});
  return rows;
}

}  // namespace godwit

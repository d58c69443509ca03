#include <algorithm>
#include <array>
#include <set>

#include "images-format/namespace.pb.h"
#include "images-format/validate_index.h"

namespace godwit {

namespace {

constexpr std::array<std::string_view, 8> kKinds = {"cgroup", "ipc",  "mnt",  "net",
                                                    "pid",    "time", "user", "uts"};
constexpr size_t kMaxName = 64;  // __NEW_UTS_LEN
// All limits of user_namespaces(7), "User and group ID mappings".
constexpr int kMaxRanges = 340;

void validate_ranges(const google::protobuf::RepeatedPtrField<image::IdRange>& ranges) {
  require(ranges.size() <= kMaxRanges, "{} ranges of ids", ranges.size());
  for (const image::IdRange& range : ranges) {
    const auto fits = [&](uint32_t first) { return uint64_t{first} + range.count() <= UINT32_MAX; };
    require(range.count() > 0 && fits(range.inside()) && fits(range.outside()),
            "a range of {} ids from {} (outside {})", range.count(), range.inside(), range.outside());
  }
}

void validate_one(const image::Namespace& record, const ValidationIndex& index) {
  require(std::ranges::find(kKinds, record.kind()) != kKinds.end(), "its kind is unknown");
  require(index.tasks.contains(record.task()), "task {} isn't there", record.task());
  require(record.uts().hostname().size() <= kMaxName && record.uts().domainname().size() <= kMaxName,
          "a host name of {} or domain name of {} bytes", record.uts().hostname().size(),
          record.uts().domainname().size());
  require(record.kind() == "uts" || !record.has_uts(), "it has a host name");
  require(record.kind() == "net" || !record.has_net(), "it has a network");
  validate_net(record.net());
  validate_ranges(record.user().uids());
  validate_ranges(record.user().gids());
}

}  // namespace

void validate_namespaces(const std::vector<Record>& records, const ValidationIndex& index) {
  std::set<uint64_t> ids;
  for_each_record<image::Namespace>(records, [&](const image::Namespace& record) {
    with_context([&] { return fmt::format("namespace {} ({})", record.id(), record.kind().substr(0, 16)); },
                 [&] {
                   require(record.id() != 0 && ids.insert(record.id()).second, "it is there twice, or is 0");
                   validate_one(record, index);
                 });
  });
}

}  // namespace godwit

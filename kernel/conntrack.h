#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

/// The connections that netfilter tracks in a network namespace, that of the calling thread. Entries are the
/// kernel's messages (nfgenmsg and attributes) in the words in which it wants to hear them. See conntrack(8).
namespace godwit::conntrack {

struct Entries {
  std::vector<std::string> connections;   // those that others have brought about behind these
  std::vector<std::string> expectations;  // connections that are to come, by what a helper has read
};

/// Without counts and times of beginning, which nobody can give an entry. Throws Error.
[[nodiscard]] Entries list();

/// Adds all of it. Throws Error that names the entry.
void load(const Entries& entries);

/// In words: "tracked connection of protocol 6 from 10.0.0.1:4000 to 10.0.0.2:80".
[[nodiscard]] std::string describe(std::string_view connection);

}  // namespace godwit::conntrack

#pragma once

#include <sys/types.h>

#include <functional>
#include <string>

namespace godwit::testing {

/// Fails the process of a round trip, with words for the test.
void require(bool holds, const char* what, int line);
#define REQUIRE(condition) ::godwit::testing::require((condition), #condition, __LINE__)

/// Dumps the descriptors of a process that `setup` has given some, ends it, and makes them again in
/// another process, by the scripts that a restored task would run. There `check` uses REQUIRE.
/// `second`: a second task, forked by the first at the end of `setup`, that runs `second` in the restored
/// process of its own. Returns what went wrong; empty: nothing.
std::string round_trip(const std::function<void()>& setup, const std::function<void()>& check,
                       const std::function<void()>& second = {});
/// What the dumper says to the descriptors that `setup` makes; empty: it takes them.
std::string refused(const std::function<void()>& setup);

}  // namespace godwit::testing

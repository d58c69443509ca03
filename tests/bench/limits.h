#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace godwit::bench {

/// Memory of a task that is to be copied.
struct Region {
  pid_t pid;
  uint64_t address;
  size_t bytes;
};

/// Seconds from the start of a program to its end. Throws Error if it fails.
double time_command(const std::vector<std::string>& command, std::string* output = nullptr);

/// Seconds that two threads need to copy all regions by process_vm_readv(2) and pwrite(2) into a fresh file.
double copy_out(const std::vector<Region>& regions, const std::string& file);

/// Seconds that two threads need to copy files by preadv(2) into fresh memory. `touched`: each piece of that
/// memory is made by MADV_POPULATE_WRITE first, which is faster where page faults are dear.
double copy_in(const std::vector<std::string>& files, bool touched);

}  // namespace godwit::bench

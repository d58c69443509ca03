#include "kernel/remote.h"

#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "kernel/error.h"
#include "kernel/fd.h"

namespace godwit {

namespace {

void* as_pointer(uint64_t address) {
  return reinterpret_cast<void*>(address);  // NOLINT(performance-no-int-to-ptr): an address elsewhere
}

}  // namespace

void RemoteMemory::read(uint64_t address, std::span<std::byte> out) const {
  while (!out.empty()) {
    iovec local{out.data(), out.size()};
    iovec remote{as_pointer(address), out.size()};
    ssize_t got = ::process_vm_readv(pid_, &local, 1, &remote, 1, 0);
    if (got <= 0) {
      // PROT_NONE memory: only /proc/PID/mem reads it.
      const Fd mem = open_file(fmt::format("/proc/{}/mem", pid_), O_RDONLY);
      got = ::pread(mem.get(), out.data(), out.size(), static_cast<off_t>(address));
      if (got <= 0) {
        throw errno_error("cannot read {} bytes at {:x} of process {}", out.size(), address, pid_);
      }
    }
    out = out.subspan(static_cast<size_t>(got));
    address += static_cast<uint64_t>(got);
  }
}

void RemoteMemory::write(uint64_t address, std::span<const std::byte> data) const {
  while (!data.empty()) {
    iovec local{const_cast<std::byte*>(data.data()), data.size()};
    iovec remote{as_pointer(address), data.size()};
    ssize_t put = ::process_vm_writev(pid_, &local, 1, &remote, 1, 0);
    if (put <= 0) {
      // Read-only memory: only /proc/PID/mem writes it.
      const Fd mem = open_file(fmt::format("/proc/{}/mem", pid_), O_WRONLY);
      put = ::pwrite(mem.get(), data.data(), data.size(), static_cast<off_t>(address));
      if (put <= 0) {
        throw errno_error("cannot write {} bytes at {:x} of process {}", data.size(), address, pid_);
      }
    }
    data = data.subspan(static_cast<size_t>(put));
    address += static_cast<uint64_t>(put);
  }
}

}  // namespace godwit

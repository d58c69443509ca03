#pragma once

/// What the containers of these tests run.
namespace godwit::e2e {

/// A busybox shell counts for ever, in the file /count and on its standard output. The file is replaced by
/// rename(2): whoever reads it never finds it empty.
inline constexpr const char* kCountForever =
    "i=0; while :; do i=$((i+1)); echo $i >/next; mv /next /count; echo $i; usleep 20000; done";

}  // namespace godwit::e2e

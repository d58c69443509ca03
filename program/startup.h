#pragma once

namespace godwit {

/// To be called first: opens /dev/null in the place of standard descriptors that the caller has left closed.
/// A file of a checkpoint that was opened as descriptor 1 or 2 would get our lines into it. Ends the process
/// if it can't.
void fill_standard_descriptors();

/// Ends the process. All our output is written when it is made, so that nothing is left to flush, and
/// the destructors of global objects, some hundred of protobuf's among them, would only cost time.
[[noreturn]] void leave(int exit_code);

}  // namespace godwit

#pragma once

namespace godwit {

/// Ends the process. All our output is written when it is made, so that nothing is left to flush, and
/// the destructors of global objects, some hundred of protobuf's among them, would only cost time.
[[noreturn]] void leave(int exit_code);

}  // namespace godwit

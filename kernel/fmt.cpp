// Debian ships fmt as headers and as a shared library, but not as the static one that a command needs which
// starts as often as this one. Compiled into every file the headers would cost each of them seconds; here
// they are compiled once.
#include <fmt/format-inl.h>

namespace fmt {
inline namespace v9 {
namespace detail {

template struct dragonbox::decimal_fp<float> dragonbox::to_decimal(float) noexcept;
template struct dragonbox::decimal_fp<double> dragonbox::to_decimal(double) noexcept;
template std::locale locale_ref::get<std::locale>() const;
template thousands_sep_result<char> thousands_sep_impl(locale_ref);
template char decimal_point_impl(locale_ref);
template void buffer<char>::append(const char*, const char*);
template void vformat_to(buffer<char>&, string_view, basic_format_args<buffer_context<char>>, locale_ref);

}  // namespace detail
}  // namespace v9
}  // namespace fmt

// Uses the library as a stranger does: public headers and the target kvcache::kvcache alone.
#include <iostream>
#include <kvcache/error.hpp>

int main() { std::cout << kvcache::error_code_name(kvcache::ErrorCode::cache_full) << '\n'; }

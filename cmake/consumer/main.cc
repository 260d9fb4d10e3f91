// What a program outside needs in order to use the engine: this, and find_package(junto).
#include <cstdio>

#include "base/json.h"
#include "base/thread_pool.h"

int main() {
  junto::ThreadPool pool(2);
  const auto greeting = junto::parse_json(R"({"hello": "junto"})", "greeting");
  pool.for_each_block(1, [&](auto, int) { std::puts(greeting["hello"].get<std::string>().c_str()); });
}

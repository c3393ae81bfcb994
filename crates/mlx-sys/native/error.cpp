// The error slot: literal text, one for each thread, keeping the first. Replaces mlx-c's error.cpp, which passes
// messages to printf as formats and whose default handler ends the process.
#include <cstdlib>
#include <cstring>

#include "mlx_native.h"

namespace {

// Without a destructor, so that errors can be kept until the very end of a thread.
struct Slot {
  char* text;
  bool full;
};

thread_local Slot slot{nullptr, false};

mlx_error_handler_func handler = nullptr;
void* handler_data = nullptr;
void (*handler_dtor)(void*) = nullptr;

} // namespace

extern "C" const char* mlx_native_error(void) {
  return slot.full ? (slot.text ? slot.text : "out of memory") : nullptr;
}

extern "C" void mlx_native_error_clear(void) {
  std::free(slot.text);
  slot = {nullptr, false};
}

extern "C" void mlx_native_error_set(const char* text) {
  if (!slot.full) {
    slot = {strdup(text ? text : ""), true};
  }
}

// mlx-c's own interface: a handler set here is told of each error besides the slot. Set it before any other thread.
extern "C" void mlx_set_error_handler(
    mlx_error_handler_func new_handler,
    void* data,
    void (*dtor)(void*)) {
  if (handler_dtor) {
    handler_dtor(handler_data);
  }
  handler = new_handler;
  handler_data = data;
  handler_dtor = dtor;
}

// Every caller in mlx-c passes the message itself as `format` and nothing after it.
extern "C" void _mlx_error(const char* file, const int line, const char* format, ...) {
  (void)file;
  (void)line;
  mlx_native_error_set(format);
  if (handler) {
    handler(format, handler_data);
  }
}

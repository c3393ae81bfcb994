// How a thread says that it waits for what it evaluates.
#ifndef MLX_GUARD_SCHEDULER_H
#define MLX_GUARD_SCHEDULER_H

// How many calls that evaluate and wait this thread is in, to be counted by the caller. Looked up by name: only there where
// libmlxguard is loaded.
extern "C" int* mlx_guard_waits();

#endif

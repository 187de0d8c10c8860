#pragma once

/// What a lock guards, written where clang's -Wthread-safety reads it; nothing for other compilers. A call without its
/// lock, a lock that is taken twice and one that is never released do not compile with clang. See Clang's "Thread
/// Safety Analysis".
///
/// The analysis follows one function at a time, so it knows what its annotated callees say. A lambda is a function of
/// its own: one that is called under a lock says so, too.
#ifdef __clang__
#define ONCELOG_THREAD_ANNOTATION(x) __attribute__((x))
#else
#define ONCELOG_THREAD_ANNOTATION(x)
#endif

/// A class whose objects are locks; `name` is what the compiler calls them.
#define CAPABILITY(name) ONCELOG_THREAD_ANNOTATION(capability(name))
/// A class whose objects hold a lock from their construction to their destruction.
#define SCOPED_CAPABILITY ONCELOG_THREAD_ANNOTATION(scoped_lockable)

/// A member that is read and written with the lock alone.
#define GUARDED_BY(lock) ONCELOG_THREAD_ANNOTATION(guarded_by(lock))
/// The caller holds the lock.
#define REQUIRES(...) ONCELOG_THREAD_ANNOTATION(requires_capability(__VA_ARGS__))
/// The caller must not hold the lock: it is taken inside, or comes before one that the caller would wait for.
#define EXCLUDES(...) ONCELOG_THREAD_ANNOTATION(locks_excluded(__VA_ARGS__))

#define ACQUIRE(...) ONCELOG_THREAD_ANNOTATION(acquire_capability(__VA_ARGS__))
/// Its first argument is what the function returns when it has taken the lock.
#define TRY_ACQUIRE(...) ONCELOG_THREAD_ANNOTATION(try_acquire_capability(__VA_ARGS__))
#define RELEASE(...) ONCELOG_THREAD_ANNOTATION(release_capability(__VA_ARGS__))

/// The caller has made sure that the lock is held where the analysis cannot see it.
#define ASSERT_CAPABILITY(lock) ONCELOG_THREAD_ANNOTATION(assert_capability(lock))

/// For the body of a lock itself, which the analysis cannot follow. It still believes the declaration.
#define NO_THREAD_SAFETY_ANALYSIS ONCELOG_THREAD_ANNOTATION(no_thread_safety_analysis)

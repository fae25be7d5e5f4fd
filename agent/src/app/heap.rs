//! How much of the heap does the agent keep that it does not use?
#![expect(unsafe_code, reason = "mallopt(3)")]

/// Lets all threads take from one arena. Of glibc each would have one of its own, which keeps the most that the thread ever took: of
/// threads that come and go, each in turn takes what a large update needs.
pub(super) fn share() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it sets a number, which is read where a thread first takes memory.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

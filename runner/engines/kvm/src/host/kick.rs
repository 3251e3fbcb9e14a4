//! Ending a vCPU's run from another thread (KVM API, `immediate_exit` of `struct kvm_run`).

use std::{
    io, ptr,
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
};

use machine::engine::Kick;

/// Makes `KVM_RUN` of one thread end. It says so in the vCPU's shared page, which the kernel looks at before it enters
/// the guest, and then sends that thread a signal, which gets it out of there.
pub(super) struct Kicker(Mutex<Option<Target>>);

struct Target {
    /// `immediate_exit` in the page that the vCPU shares with the kernel.
    immediate_exit: *mut u8,
    thread: libc::pthread_t,
}

// SAFETY: the pointer is used under the Mutex alone, for atomic stores, by any thread.
unsafe impl Send for Target {}

impl Kicker {
    /// For the vCPU that the calling thread runs and whose page has `immediate_exit`.
    ///
    /// # Safety
    /// [`Kicker::forget`] must be called before that page goes, and before this thread ends.
    pub(super) unsafe fn new(immediate_exit: *mut u8) -> io::Result<Self> {
        install_handler()?;
        // SAFETY: asks for the calling thread's name; it can't fail.
        let thread = unsafe { libc::pthread_self() };
        Ok(Kicker(Mutex::new(Some(Target { immediate_exit, thread }))))
    }

    /// No kick reaches the vCPU any more.
    pub(super) fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Sets `immediate_exit` for the vCPU's own thread.
    pub(super) fn set(&self, exit: bool) {
        if let Some(target) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            target.set(exit);
        }
    }
}

impl Target {
    fn set(&self, exit: bool) {
        // SAFETY: the page is there until `Kicker::forget`, and one byte is aligned. All stores to it are atomic.
        unsafe { AtomicU8::from_ptr(self.immediate_exit) }.store(exit.into(), Ordering::SeqCst);
    }
}

impl Kick for Kicker {
    fn kick(&self) {
        if let Some(target) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            target.set(true);
            // SAFETY: the thread lives until `Kicker::forget`, and the signal has a handler.
            unsafe { libc::pthread_kill(target.thread, signal()) };
        }
    }
}

/// The first signal that is a program's own.
fn signal() -> libc::c_int {
    libc::SIGRTMIN()
}

/// Has the signal do nothing but interrupt a call. Once for the process.
fn install_handler() -> io::Result<()> {
    extern "C" fn nothing(_: libc::c_int) {}
    static ERROR: OnceLock<Option<i32>> = OnceLock::new();
    let error = ERROR.get_or_init(|| {
        let handler: extern "C" fn(libc::c_int) = nothing;
        // SAFETY: zero is a valid value of all fields: no flags, and an empty set of signals to block.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = handler as libc::sighandler_t;
        // SAFETY: the handler does nothing, so it is safe at any moment; nobody else in this program uses the signal.
        let result = unsafe { libc::sigaction(signal(), &raw const action, ptr::null_mut()) };
        if result == 0 { None } else { io::Error::last_os_error().raw_os_error() }
    });
    error.map_or(Ok(()), |code| Err(io::Error::from_raw_os_error(code)))
}

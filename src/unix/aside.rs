//! Work that may block, done aside while the event loop goes on: files of a network, look-ups of names, a server that is silent.
//!
//! Whoever does not wait for it any more leaves it to itself.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::task::Poll;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};

use super::clock::Alarm;
use super::readable::Readable;
use super::spawn::{block_all_signals, restore_signals};

/// What a look-up of a name and a handshake take, with room to spare.
const STACK: usize = 512 * 1024;

/// Work that is being done, and what comes of it.
pub struct Aside<T> {
    thread: Option<JoinHandle<T>>,
    done: Readable,
    alarm: Alarm,
}

impl<T: Send + 'static> Aside<T> {
    /// Begins it. Signals never come to it: they are for whoever waits.
    ///
    /// # Errors
    /// A lack of threads or descriptors.
    pub fn start(limit: Duration, work: Box<dyn FnOnce() -> T + Send>) -> io::Result<Aside<T>> {
        let done = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let tell = done.try_clone()?;
        let (done, alarm) = (Readable::new(done)?, Alarm::new()?);
        let work = move || {
            let result = work();
            // It fails only for a counter that is full.
            let _told = rustix::io::write(&tell, &1_u64.to_ne_bytes());
            result
        };
        // A new thread inherits the mask.
        let mask = block_all_signals();
        let thread = Builder::new().stack_size(STACK).spawn(work);
        restore_signals(&mask);
        alarm.set(limit);
        Ok(Aside { thread: Some(thread?), done, alarm })
    }

    /// Waits until it is done; none if its limit passes before, or its result was taken. May be cancelled and called again.
    pub async fn result(&mut self) -> Option<T> {
        let is_done = {
            let mut done = pin!(self.done.ready());
            let mut late = pin!(self.alarm.rings());
            std::future::poll_fn(|context| {
                let is_done = done.as_mut().poll(context).is_ready();
                let is_late = late.as_mut().poll(context).is_ready();
                if is_done || is_late { Poll::Ready(is_done) } else { Poll::Pending }
            })
            .await
        };
        // It has told so as its last deed: this waits for nothing. A panic ends the program.
        self.thread.take_if(|_| is_done)?.join().ok()
    }

    /// Whether it still goes on.
    #[must_use]
    pub fn goes_on(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }
}

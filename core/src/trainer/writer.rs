//! Files written beside the training, in order, one at a time: a step doesn't wait for a disk.

use super::TrainError;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

type Done = Result<(), TrainError>;

/// At most one file on its way. Dropping it waits for that.
#[derive(Debug, Default)]
pub(super) struct Writer(Mutex<Option<JoinHandle<Done>>>);

impl Writer {
    /// Does a job once the one before is done, whose failure this reports.
    pub(super) fn begin(&self, job: impl FnOnce() -> Done + Send + 'static) -> Done {
        self.finish()?;
        let job = std::sync::Arc::new(Mutex::new(Some(job)));
        let run = {
            let job = job.clone();
            move || taken(&job).map_or(Ok(()), |job| job())
        };
        match std::thread::Builder::new().name("checkpoint".to_owned()).spawn(run) {
            Ok(thread) => *self.lock() = Some(thread),
            // Without threads left in the system, the training waits.
            Err(_) => return taken(&job).map_or(Ok(()), |job| job()),
        }
        Ok(())
    }

    /// Waits until what was begun is done.
    pub(super) fn finish(&self) -> Done {
        let thread = self.lock().take();
        match thread.map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(done)) => done,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<JoinHandle<Done>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn taken<T>(place: &Mutex<Option<T>>) -> Option<T> {
    place.lock().unwrap_or_else(PoisonError::into_inner).take()
}

impl Drop for Writer {
    fn drop(&mut self) {
        let thread = self.lock().take();
        drop(thread.map(JoinHandle::join));
    }
}

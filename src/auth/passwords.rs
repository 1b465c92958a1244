//! Passwords: argon2id with 19 MiB, 2 passes and 1 lane, off the async threads and never more at
//! once than there are cores.

use std::num::NonZero;
use std::sync::{Arc, mpsc};

use argon2::password_hash::{self, PasswordHasher, PasswordVerifier, phc::PasswordHash};
use argon2::{Algorithm, Argon2, Params, Version};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::error::Error;
use crate::model::Password;

const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// Hashes and checks passwords, on threads of its own, as many as there are cores. The runtime's pool
/// has hundreds, and would take 19 MiB for each of them in turn.
#[derive(Clone, Debug)]
pub struct Passwords {
    work: mpsc::Sender<Work>,
    /// Checked where there is no such user, so that the answer takes as long.
    nobody: Arc<str>,
}

type Work = Box<dyn FnOnce() + Send>;

impl Passwords {
    /// # Errors
    /// Where the system has no random numbers, or no threads.
    pub fn new() -> Result<Self, Error> {
        let nobody = hash(&Password::claimed("nobody has this password".to_owned())).map_err(internal)?;
        let (work, queue) = mpsc::channel::<Work>();
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..std::thread::available_parallelism().map_or(1, NonZero::get) {
            let queue = Arc::clone(&queue);
            // Ends with the last handle to it.
            let next = move || queue.lock().recv();
            let take_turns = move || std::iter::from_fn(|| next().ok()).for_each(|work| work());
            std::thread::Builder::new().name("passwords".to_owned()).spawn(take_turns).map_err(Error::internal)?;
        }
        Ok(Self { work, nobody: nobody.into() })
    }

    /// The PHC string to store for a new password.
    ///
    /// # Errors
    /// Only where the system has no random numbers.
    pub async fn hash(&self, password: Password) -> Result<String, Error> {
        self.off_the_async_threads(move || hash(&password)).await?.map_err(internal)
    }

    /// Whether a password is the one that was hashed. Without a hash the answer is no, after the
    /// same work.
    ///
    /// # Errors
    /// Where a stored hash is no PHC string.
    pub async fn verify(&self, password: Password, stored: Option<&str>) -> Result<bool, Error> {
        let exists = stored.is_some();
        let phc = stored.unwrap_or(&self.nobody).to_owned();
        let matches = self.off_the_async_threads(move || verify(&password, &phc)).await?.map_err(internal)?;
        Ok(matches && exists)
    }

    async fn off_the_async_threads<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let (done, result) = oneshot::channel();
        let unless_nobody_waits = move || {
            if !done.is_closed() {
                let _ = done.send(work());
            }
        };
        self.work
            .send(Box::new(unless_nobody_waits))
            .map_err(|_| Error::internal("the password threads have ended"))?;
        result.await.map_err(Error::internal)
    }
}

fn argon2id() -> Argon2<'static> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).expect("the three constants are within argon2's ranges");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

fn hash(password: &Password) -> Result<String, password_hash::Error> {
    let hash: PasswordHash = argon2id().hash_password(password.expose().as_bytes())?;
    Ok(hash.to_string())
}

/// The costs come from the stored hash, so that old ones go on working when ours rise.
fn verify(password: &Password, stored: &str) -> Result<bool, password_hash::Error> {
    let stored = PasswordHash::new(stored).map_err(|_| password_hash::Error::EncodingInvalid)?;
    match argon2id().verify_password(password.expose().as_bytes(), &stored) {
        Ok(()) => Ok(true),
        Err(password_hash::Error::PasswordInvalid) => Ok(false),
        Err(error) => Err(error),
    }
}

fn internal(error: password_hash::Error) -> Error {
    Error::internal(format!("argon2: {error}"))
}

//! Passwords: argon2id with 19 MiB, 2 passes and 1 lane, off the async threads and never more at
//! once than there are cores.

use std::sync::Arc;

use argon2::password_hash::{self, PasswordHasher, PasswordVerifier, phc::PasswordHash};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::Semaphore;

use crate::error::Error;
use crate::model::Password;

const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// Hashes and checks passwords.
#[derive(Clone, Debug)]
pub struct Passwords {
    /// One permit a core.
    at_work: Arc<Semaphore>,
    /// Checked where there is no such user, so that the answer takes as long.
    nobody: Arc<str>,
}

impl Passwords {
    /// # Errors
    /// Where the system has no random numbers.
    pub fn new() -> Result<Self, Error> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let nobody = hash(&Password::claimed("nobody has this password".to_owned())).map_err(internal)?;
        Ok(Self { at_work: Arc::new(Semaphore::new(cores)), nobody: nobody.into() })
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
        let at_work = Arc::clone(&self.at_work).acquire_owned().await.map_err(Error::internal)?;
        // The work goes on where the one who asked hangs up, and so must the permit.
        let work = move || {
            let done = work();
            drop(at_work);
            done
        };
        tokio::task::spawn_blocking(work).await.map_err(Error::internal)
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

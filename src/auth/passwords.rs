//! Password hashing: argon2id with 19 MiB, 2 passes and 1 lane, on a pool of threads of its own that leaves a core
//! to everything else if there is more than one. `hash_queue` decides the order.

use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use argon2::password_hash::{
    self,
    phc::{Output, ParamsString, PasswordHash, Salt},
};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::hash_queue::{HashQueue, Requester};
use crate::error::Error;
use crate::model::Password;

const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// A thread pool that hashes and verifies passwords. It has one thread less than there are cores, so that messages
/// flow while many users sign in. The blocking pool of the runtime has hundreds of threads, each of which would
/// keep 19 MiB.
#[derive(Clone, Debug)]
pub struct PasswordHasher {
    threads: Arc<Threads>,
    /// The hash that is verified if there is no such account, so that timing does not reveal whether there is.
    dummy_hash: Arc<str>,
}

/// A job of a thread.
type Job = Box<dyn FnOnce(&mut Memory) + Send>;

/// The queue of the threads, which end when it is dropped.
struct Threads(Arc<HashQueue<Job>>);

impl Drop for Threads {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl std::fmt::Debug for Threads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Threads").finish_non_exhaustive()
    }
}

/// Maximum wait for a hash. After it the caller gets `overloaded`, as at once if the queue is full.
const MAX_WAIT: Duration = Duration::from_secs(10);
/// `Retry-After` of a caller that is refused.
const RETRY_AFTER: Duration = Duration::from_secs(4);

/// The memory of argon2. Each thread keeps its own, because the kernel would otherwise map it page by page for
/// every hash, and make the other threads wait for that.
type Memory = Vec<Block>;

impl PasswordHasher {
    /// Starts the threads.
    ///
    /// # Errors
    /// If the system refuses random numbers or threads.
    pub fn new() -> Result<Self, Error> {
        let dummy = Password::to_verify("nobody has this password".to_owned());
        let dummy_hash = hash(&dummy, &mut Memory::new()).map_err(internal)?;
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let number = (cores - 1).max(1);
        let threads = Arc::new(Threads(Arc::new(HashQueue::new(number))));
        for _ in 0..number {
            let queue = Arc::clone(&threads.0);
            let run = move || {
                let mut memory = Memory::new();
                std::iter::from_fn(|| queue.next()).for_each(|job| job(&mut memory));
            };
            std::thread::Builder::new().name("passwords".to_owned()).spawn(run).map_err(Error::internal)?;
        }
        Ok(Self { threads, dummy_hash: dummy_hash.into() })
    }

    /// Hashes a new password to the PHC string that is stored.
    ///
    /// # Errors
    /// `overloaded` if the queue is full or the wait is too long, `internal` if the system refuses random
    /// numbers or memory.
    pub async fn hash(&self, password: Password, requester: &Requester) -> Result<String, Error> {
        self.run_job(requester, move |memory| hash(&password, memory)).await?.map_err(internal)
    }

    /// Whether a password is the one that was hashed. Without a stored hash the result is false, after the same
    /// work on the dummy hash.
    ///
    /// # Errors
    /// `overloaded` if the queue is full or the wait is too long, `internal` if the stored hash is no PHC
    /// string or the system refuses memory.
    pub async fn verify(&self, password: Password, stored: Option<&str>, requester: &Requester) -> Result<bool, Error> {
        let exists = stored.is_some();
        let phc = stored.unwrap_or(&self.dummy_hash).to_owned();
        let matches =
            self.run_job(requester, move |memory| verify(&password, &phc, memory)).await?.map_err(internal)?;
        Ok(matches && exists)
    }

    /// Queues a job and waits for its result. The queue skips the job if the caller has disconnected before its turn.
    async fn run_job<T: Send + 'static>(
        &self,
        requester: &Requester,
        work: impl FnOnce(&mut Memory) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let (done, result) = oneshot::channel();
        let waiting = Arc::new(());
        let job = move |memory: &mut Memory| drop(done.send(work(memory)));
        self.threads.0.push(Box::new(job), requester, Arc::downgrade(&waiting));
        // The queue drops the jobs that it has no room for, which ends the wait at once.
        let result = timeout(MAX_WAIT, result).await.ok().and_then(Result::ok);
        result.ok_or_else(|| Error::overloaded().retry_after(RETRY_AFTER))
    }
}

fn hash(password: &Password, memory: &mut Memory) -> Result<String, password_hash::Error> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).expect("the three constants are within argon2's ranges");
    let salt = Salt::new(&password_hash::try_generate_salt()?)?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hash = PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: ParamsString::try_from(argon2.params())?,
        salt: Some(salt),
        hash: Some(output(&argon2, password, &salt, Params::DEFAULT_OUTPUT_LEN, memory)?),
    };
    Ok(hash.to_string())
}

/// Verifies a password with the costs of the stored hash, so that old hashes stay valid when the costs rise.
fn verify(password: &Password, stored: &str, memory: &mut Memory) -> Result<bool, password_hash::Error> {
    let stored = PasswordHash::new(stored).map_err(|_| password_hash::Error::EncodingInvalid)?;
    let (Some(salt), Some(expected)) = (stored.salt, stored.hash) else {
        return Err(password_hash::Error::EncodingInvalid);
    };
    let version = stored.version.map(Version::try_from).transpose()?.unwrap_or_default();
    let argon2 = Argon2::new(stored.algorithm.as_str().try_into()?, version, Params::try_from(&stored)?);
    // `Output` compares in constant time.
    Ok(output(&argon2, password, &salt, expected.len(), memory)? == expected)
}

/// The output of argon2 for a password, `length` bytes long.
fn output(
    argon2: &Argon2<'_>,
    password: &Password,
    salt: &Salt,
    length: usize,
    memory: &mut Memory,
) -> Result<Output, password_hash::Error> {
    let missing = argon2.params().block_count().saturating_sub(memory.len());
    memory.try_reserve_exact(missing).map_err(|_| password_hash::Error::OutOfMemory)?;
    memory.resize(memory.len() + missing, Block::new());
    let mut bytes = [0; Output::MAX_LENGTH];
    let bytes = &mut bytes[..length];
    argon2.hash_password_into_with_memory(password.expose().as_bytes(), salt, bytes, memory)?;
    Ok(Output::new(bytes)?)
}

fn internal(error: password_hash::Error) -> Error {
    Error::internal(format!("argon2: {error}"))
}

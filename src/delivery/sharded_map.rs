//! A hash map in shards, each with its own lock, so that fan-out to one user rarely waits for another.
//! An operation locks one shard for a short time; no lock is held across an await.

use std::collections::HashMap;
use std::hash::Hash;

use parking_lot::{Mutex, MutexGuard};

use crate::model::{ConversationId, Target, UserId};

/// Shards of every map. Nodes exchange presence snapshots shard by shard, so the number and [`ShardKey`] are
/// part of the cluster protocol.
pub(super) const SHARDS: usize = 64;

/// A key that names its shard.
pub(super) trait ShardKey: Copy + Eq + Hash {
    /// Its shard, below [`SHARDS`].
    fn shard(self) -> usize;
}

impl ShardKey for UserId {
    fn shard(self) -> usize {
        shard_of_id(self.0)
    }
}

impl ShardKey for ConversationId {
    fn shard(self) -> usize {
        shard_of_id(self.0)
    }
}

impl ShardKey for Target {
    fn shard(self) -> usize {
        match self {
            Self::User(user) => shard_of_id(user.0),
            Self::Group(group) => shard_of_id(group.0),
        }
    }
}

fn shard_of_id(id: i64) -> usize {
    usize::try_from(id.unsigned_abs() % SHARDS as u64).expect("less than the number of shards")
}

type Shard<K, V> = Mutex<HashMap<K, V>>;

/// A map in [`SHARDS`] shards.
#[derive(Debug)]
pub(super) struct ShardedMap<K, V>(Box<[Shard<K, V>]>);

impl<K, V> Default for ShardedMap<K, V> {
    fn default() -> Self {
        Self((0..SHARDS).map(|_| Mutex::default()).collect())
    }
}

impl<K: ShardKey, V> ShardedMap<K, V> {
    /// Locks the shard of a key.
    pub(super) fn lock(&self, key: K) -> MutexGuard<'_, HashMap<K, V>> {
        self.0[key.shard()].lock()
    }

    /// Locks the shard with this number; `None` if there is none.
    pub(super) fn lock_shard(&self, shard: usize) -> Option<MutexGuard<'_, HashMap<K, V>>> {
        self.0.get(shard).map(Mutex::lock)
    }

    /// Locks the shards one after another, in the order of their numbers.
    pub(super) fn lock_each(&self) -> impl Iterator<Item = MutexGuard<'_, HashMap<K, V>>> {
        self.0.iter().map(Mutex::lock)
    }
}

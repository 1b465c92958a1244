//! A database that is read-only for some seconds, as during a failover.

use rand::rngs::StdRng;

use super::targets::{Targets, pause};
use crate::history::event::Phase;

const DATABASE: &str = "postgres";

impl Targets {
    /// Makes PostgreSQL read-only for some seconds. Half of the sessions are terminated. Those that are opened
    /// meanwhile stay read-only for as long as they last, so a pool that keeps them could never write again.
    pub(super) async fn make_read_only(&self, note: impl Fn(Phase), rng: &mut StdRng) -> Result<(), String> {
        let postgres = self.postgres.as_ref().ok_or("PostgreSQL is not ours")?.lock().await;
        note(Phase::Started);
        for statement in [
            "alter database postgres set default_transaction_read_only = on",
            "alter system set default_transaction_read_only = on",
            "select pg_reload_conf()",
            "select pg_terminate_backend(pid) from pg_stat_activity
             where backend_type = 'client backend' and pid <> pg_backend_pid() and random() < 0.5",
        ] {
            postgres.execute(DATABASE, statement).await?;
        }
        // A session applies the setting when it is signalled.
        pause(rng, 800..1000).await;
        note(Phase::DatabaseDown);
        // Longer than `/readyz` may take to notice.
        pause(rng, 4000..6000).await;
        note(Phase::DatabaseUp);
        for statement in [
            "begin read write; alter database postgres reset default_transaction_read_only; commit",
            "alter system reset default_transaction_read_only",
            "select pg_reload_conf()",
        ] {
            postgres.execute(DATABASE, statement).await?;
        }
        Ok(())
    }
}

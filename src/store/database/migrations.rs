//! The schema: what this build knows of, what a database has, and the way from the one to the other.

use std::collections::BTreeSet;

use sqlx::migrate::{Migrate as _, MigrateError};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};

use crate::error::Error;
use crate::store::{Db, prepare_session};

/// The migrations of this build, as `sqlx migrate run` applies them too.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!();

/// Where sqlx keeps what was applied.
const TABLE: &str = "_sqlx_migrations";

impl Db {
    /// Applies the migrations that are missing, and names them. Several nodes may do so at once.
    ///
    /// # Errors
    /// Where one fails, or the database has migrations that this build does not know.
    pub async fn migrate(&self) -> Result<Vec<String>, Error> {
        // On a connection of its own: a node may wait for another one's migration as long as that takes.
        let mut connection = self.pool.connect_options().connect().await?;
        prepare_session(&mut connection).await?;
        sqlx::raw_sql("set lock_timeout = 0; set statement_timeout = 0").execute(&mut connection).await?;
        let before = applied(&mut connection).await?.unwrap_or_default();
        MIGRATOR.run(&mut connection).await.map_err(in_words)?;
        connection.close().await?;
        Ok(names(|version| !before.contains(&version)))
    }

    /// Whether the schema is one that this build can work with, where somebody else brings it up to date.
    /// A newer one is: nodes of two versions run side by side during an update.
    ///
    /// # Errors
    /// A sentence that says what to do.
    pub async fn check_schema(&self) -> Result<(), Error> {
        let mut connection = self.pool.acquire().await?;
        let what_to_do = "run `hark migrate`, or set HARK_MIGRATE=true";
        let Some(applied) = applied(&mut connection).await?.filter(|applied| !applied.is_empty()) else {
            return Err(Error::internal(format!("it has no schema, and HARK_MIGRATE is false: {what_to_do}")));
        };
        let missing = names(|version| !applied.contains(&version));
        if !missing.is_empty() {
            return Err(Error::internal(format!(
                "its schema is older than this build, and HARK_MIGRATE is false: {what_to_do} (missing: {})",
                missing.join(", ")
            )));
        }
        if let Some(newer) = applied.iter().find(|version| !MIGRATOR.version_exists(**version)) {
            tracing::warn!(
                "the schema is newer than this build (it has migration {newer}): update this node too; no `hark migrate` \
                 of this build changes it"
            );
        }
        Ok(())
    }
}

/// The versions that were applied; `None` where there never were any.
async fn applied(connection: &mut PgConnection) -> Result<Option<BTreeSet<i64>>, Error> {
    let is_there = sqlx::query_scalar!(r#"select to_regclass($1) is not null as "is_there!""#, TABLE)
        .fetch_one(&mut *connection)
        .await?;
    if !is_there {
        return Ok(None);
    }
    let rows = connection.list_applied_migrations(TABLE).await.map_err(in_words)?;
    Ok(Some(rows.into_iter().map(|row| row.version).collect()))
}

/// The migrations of this build whose version fits, by version and name.
fn names(fits: impl Fn(i64) -> bool) -> Vec<String> {
    let fitting = MIGRATOR.iter().filter(|migration| fits(migration.version));
    fitting.map(|migration| format!("{} {}", migration.version, migration.description)).collect()
}

fn in_words(error: MigrateError) -> Error {
    match error {
        MigrateError::VersionMissing(version) => Error::internal(format!(
            "its schema is newer than this build: it has migration {version}. Run the build that applied it, or a later \
             one; `hark migrate` of this build cannot go back"
        )),
        MigrateError::VersionMismatch(version) => Error::internal(format!(
            "migration {version} was applied in another form than this build has it: the database belongs to another \
             build"
        )),
        MigrateError::ExecuteMigration(error, version) => {
            Error::internal(format!("migration {version} failed: {error}"))
        }
        error => Error::internal(error),
    }
}

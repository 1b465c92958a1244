//! The kinds of scenarios.

use crate::fault::Fault;

/// A kind of backup and restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scenario {
    /// A dump is restored into a new cluster, while the server is stopped.
    Dump,
    /// A dump is restored twice, into two new clusters; what was done on the first one is lost.
    DumpTwice,
    /// A dump is restored into a new database of the same cluster, while the server runs.
    DumpRunning,
    /// A copy of the data folder is restored, while the server is stopped.
    Folder,
    /// A copy of the data folder is restored, while the server runs.
    FolderRunning,
    /// A lagging standby is promoted, while the server runs.
    Standby,
}

impl Scenario {
    /// The scenarios of a fault.
    pub(crate) fn of(fault: Fault) -> &'static [Self] {
        match fault {
            Fault::RestoreDump => &[Self::Dump, Self::DumpTwice, Self::DumpRunning],
            Fault::RestoreFolder => &[Self::Folder, Self::FolderRunning],
            Fault::PromoteStandby => &[Self::Standby],
            _ => &[],
        }
    }

    /// The name of the round.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Dump => "restore-dump",
            Self::DumpTwice => "restore-dump-twice",
            Self::DumpRunning => "restore-dump-running",
            Self::Folder => "restore-folder",
            Self::FolderRunning => "restore-folder-running",
            Self::Standby => "promote-standby",
        }
    }

    /// The fault that the scenario belongs to.
    pub(super) fn fault(self) -> Fault {
        match self {
            Self::Dump | Self::DumpTwice | Self::DumpRunning => Fault::RestoreDump,
            Self::Folder | Self::FolderRunning => Fault::RestoreFolder,
            Self::Standby => Fault::PromoteStandby,
        }
    }

    /// Whether the server keeps running during the restore.
    pub(super) fn keeps_server_running(self) -> bool {
        matches!(self, Self::DumpRunning | Self::FolderRunning | Self::Standby)
    }
}

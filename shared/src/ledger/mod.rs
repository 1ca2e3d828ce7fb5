//! The ledger: the schema `upshift` inside the target database.

//! `upshift fleet …`: many databases upgraded by one order, in waves. One file per subcommand.

mod variants;

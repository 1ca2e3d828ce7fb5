//! A small catalog for tests, built without DDL.

use std::collections::BTreeSet;

use upshift_shared::{
    catalog::{
        Catalog, Column, Constraint, ConstraintKind, ForeignKeyAction, Function, Identity, Index,
        Inheritance, Persistence, Relation, RelationKind, RuleEvent, Trigger, UserType, Volatility,
    },
    ids::{ColId, RelId},
};

/// The search path of the tests.
pub(crate) fn path() -> Vec<String> {
    vec!["public".to_owned()]
}

/// A table to be added to a catalog.
pub(crate) struct Table {
    relation: Relation,
}

impl Table {
    /// With columns as `name type [!]`, separated by commas; `!` is NOT NULL.
    pub(crate) fn new(name: &str, columns: &str) -> Self {
        let columns = columns
            .split(',')
            .map(str::trim)
            .filter(|column| !column.is_empty())
            .zip(1..)
            .map(|(column, number)| {
                let not_null = column.ends_with('!');
                let column = column.trim_end_matches(['!', ' ']);
                let (name, type_name) = column.split_once(' ').expect("a name and a type");
                Column {
                    id: ColId(number),
                    name: name.to_owned(),
                    type_name: type_name.to_owned(),
                    collation: None,
                    not_null,
                    default: None,
                    identity: None,
                    generated: None,
                    sequence: None,
                }
            })
            .collect();
        Self {
            relation: Relation {
                id: RelId(0),
                oid: Some(1),
                schema: "public".to_owned(),
                name: name.to_owned(),
                kind: RelationKind::Table,
                persistence: Persistence::Permanent,
                columns,
                constraints: Vec::new(),
                indexes: Vec::new(),
                triggers: Vec::new(),
                rules: BTreeSet::new(),
                row_security: false,
                inheritance: Inheritance::default(),
                reads: Vec::new(),
                owned_by: None,
                rows: 1_000_000.0,
                bytes: 1 << 27,
                obstacles: Vec::new(),
                dependents: Vec::new(),
            },
        }
    }

    fn ids(&self, columns: &str) -> Vec<ColId> {
        columns
            .split(',')
            .map(|name| {
                self.relation
                    .column(name.trim())
                    .expect("a known column")
                    .id
            })
            .collect()
    }

    /// Anything else about the relation.
    pub(crate) fn with(mut self, change: impl FnOnce(&mut Relation)) -> Self {
        change(&mut self.relation);
        self
    }

    /// A primary key.
    pub(crate) fn key(mut self, columns: &str) -> Self {
        let ids = self.ids(columns);
        let name = format!("{}_pkey", self.relation.name);
        self.relation.constraints.push(Constraint {
            name: name.clone(),
            kind: ConstraintKind::PrimaryKey,
            columns: ids.clone(),
            deferrable: false,
            deferred: false,
            validated: true,
            definition: String::new(),
        });
        self.index(&name, ids, true, true)
    }

    /// A unique index.
    pub(crate) fn unique(self, name: &str, columns: &str) -> Self {
        let ids = self.ids(columns);
        self.index(name, ids, true, false)
    }

    fn index(mut self, name: &str, columns: Vec<ColId>, unique: bool, primary: bool) -> Self {
        self.relation.indexes.push(Index {
            name: name.to_owned(),
            unique,
            primary,
            valid: true,
            immediate: true,
            method: "btree".to_owned(),
            mentions: columns.clone(),
            columns: columns.into_iter().map(Some).collect(),
            predicate: None,
            definition: String::new(),
            bytes: 0,
        });
        self
    }

    /// A constraint of any kind.
    pub(crate) fn constraint(mut self, name: &str, kind: ConstraintKind, columns: &str) -> Self {
        let columns = self.ids(columns);
        self.relation.constraints.push(Constraint {
            name: name.to_owned(),
            kind,
            columns,
            deferrable: false,
            deferred: false,
            validated: true,
            definition: String::new(),
        });
        self
    }

    /// A foreign key to the column `id` of a table that is its first.
    pub(crate) fn refers(self, column: &str, table: RelId, on_delete: ForeignKeyAction) -> Self {
        self.refers_on_update(column, table, on_delete, ForeignKeyAction::NoAction)
    }

    /// The same with ON UPDATE.
    pub(crate) fn refers_on_update(
        self,
        column: &str,
        table: RelId,
        on_delete: ForeignKeyAction,
        on_update: ForeignKeyAction,
    ) -> Self {
        let name = format!("{}_{column}_fkey", self.relation.name);
        let kind = ConstraintKind::ForeignKey {
            table,
            columns: vec![ColId(1)],
            on_delete,
            on_update,
        };
        self.constraint(&name, kind, column)
    }

    /// An enabled trigger on the events that its name mentions.
    pub(crate) fn trigger(self, name: &str, update_of: &str) -> Self {
        let update_of = if update_of.is_empty() {
            Vec::new()
        } else {
            self.ids(update_of)
        };
        self.with(|relation| {
            relation.triggers.push(Trigger {
                name: name.to_owned(),
                enabled: true,
                insert: name.contains("insert"),
                update: name.contains("update"),
                update_of,
                delete: name.contains("delete"),
                truncate: name.contains("truncate"),
                row: !name.contains("statement"),
                internal: name.contains("internal"),
            });
        })
    }

    /// A view over these relations.
    pub(crate) fn view(self, reads: &[RelId]) -> Self {
        self.with(|relation| {
            relation.kind = RelationKind::View;
            relation.reads = reads.to_vec();
        })
    }

    /// Adds it.
    pub(crate) fn add(self, catalog: &mut Catalog) -> RelId {
        let parents = self.relation.inheritance.parents.clone();
        let id = catalog.insert(self.relation);
        for parent in parents {
            let parent = catalog.relation_mut(parent).expect("a known parent");
            parent.inheritance.children.push(id);
        }
        id
    }
}

/// A sequence, owned by the first column of a table as its identity or default.
pub(crate) fn serial(catalog: &mut Catalog, table: RelId, identity: bool) -> RelId {
    let name = catalog.relation(table).expect("a known table").name.clone();
    let mut sequence = Table::new(&format!("{name}_id_seq"), "");
    sequence.relation.kind = RelationKind::Sequence;
    sequence.relation.owned_by = Some((table, ColId(1)));
    let sequence = sequence.add(catalog);
    let table = catalog.relation_mut(table).expect("a known table");
    let column = &mut table.columns[0];
    column.sequence = Some(sequence);
    if identity {
        column.identity = Some(Identity::ByDefault);
    } else {
        column.default = Some(format!("nextval('{name}_id_seq'::regclass)"));
    }
    sequence
}

/// Functions as `name arguments volatility[kind]`: i, s, v and a (aggregate), w (window), r (set).
const BUILTIN: &str = "now 0 s, lower 1 i, upper 1 i, length 1 i, replace 3 i, concat 2 s, \
    coalesce_dummy 1 i, random 0 v, gen_random_uuid 0 v, clock_timestamp 0 v, nextval 1 v, \
    currval 1 v, lastval 0 v, setval 2 v, setval 3 v, count 1 ia, count 0 ia, max 1 ia, min 1 ia, \
    sum 1 ia, row_number 0 iw, unnest 1 ir, generate_series 2 ir, query_to_xml 4 v, \
    pg_advisory_lock 1 v, pg_advisory_xact_lock 1 v, set_config 3 v, current_setting 1 s, \
    pg_get_serial_sequence 2 s, pg_relation_size 1 v, pg_get_viewdef 1 s, jsonb_build_object 2 s, \
    age 1 s, to_char 2 s, pg_notify 2 v, string_agg 2 ia, transaction_timestamp 0 s, abs 1 i";

fn functions(catalog: &mut Catalog) {
    for line in BUILTIN.split(',') {
        let mut words = line.split_whitespace();
        let name = words.next().expect("a name");
        let arguments = words.next().and_then(|n| n.parse().ok()).expect("a number");
        let kind = words.next().expect("a kind");
        let function = Function {
            schema: "pg_catalog".to_owned(),
            volatility: match kind.chars().next() {
                Some('i') => Volatility::Immutable,
                Some('s') => Volatility::Stable,
                _ => Volatility::Volatile,
            },
            aggregate: kind.contains('a'),
            window: kind.contains('w'),
            returns_set: kind.contains('r'),
            builtin: true,
            arguments,
        };
        catalog
            .functions
            .entry(name.to_owned())
            .or_default()
            .push(function);
    }
    for (name, volatility) in [
        ("clean", Volatility::Immutable),
        ("rate", Volatility::Stable),
        ("log", Volatility::Volatile),
    ] {
        let function = Function {
            schema: "public".to_owned(),
            volatility,
            aggregate: false,
            window: false,
            returns_set: false,
            builtin: false,
            arguments: 1,
        };
        catalog
            .functions
            .entry(name.to_owned())
            .or_default()
            .push(function);
    }
}

/// Partners, moves, lines, a log without a key, and one table for each special thing.
pub(crate) fn catalog() -> Catalog {
    use ForeignKeyAction::{Cascade, NoAction, SetNull};
    let mut catalog = Catalog::default();
    catalog.server_version = 150_018;
    catalog.database = "test".to_owned();
    catalog.search_path = path();
    catalog.schemas = vec!["public".to_owned()];
    functions(&mut catalog);
    catalog.types.push(UserType {
        schema: "public".to_owned(),
        name: "mood".to_owned(),
        kind: 'e',
        domain: None,
    });
    let c = &mut catalog;
    let partner = Table::new(
        "partner",
        "id integer !, name character varying, ref text, parent_id integer, active boolean, \
         company_id integer, email text, mood mood, write_date timestamp without time zone",
    )
    .key("id")
    .unique("partner_ref_key", "ref")
    .add(c);
    serial(c, partner, false);
    let journal = Table::new("journal", "id integer !, code text !, company_id integer")
        .key("id")
        .unique("journal_code_company", "code, company_id")
        .add(c);
    let movement = Table::new(
        "move",
        "id integer !, journal_id integer, number integer, name text, state text, gap boolean, \
         partner_id integer, amount numeric, total numeric, create_date timestamp without time zone",
    )
    .key("id")
    .refers("partner_id", partner, NoAction)
    .refers("journal_id", journal, NoAction)
    .constraint("move_amount_check", ConstraintKind::Check, "amount, number")
    .with(|relation| {
        relation.columns[8].generated = Some("(amount * (2)::numeric)".to_owned());
    })
    .add(c);
    serial(c, movement, true);
    special_tables(c, movement, partner, (Cascade, SetNull));
    catalog
}

fn special_tables(
    c: &mut Catalog,
    movement: RelId,
    partner: RelId,
    (cascade, set_null): (ForeignKeyAction, ForeignKeyAction),
) {
    Table::new(
        "line",
        "id integer !, move_id integer, partner_id integer, qty numeric, price numeric, name text",
    )
    .key("id")
    .refers("move_id", movement, cascade)
    .refers("partner_id", partner, set_null)
    .with(|relation| relation.rows = 3_000_000.0)
    .add(c);
    Table::new("log_entry", "at timestamp with time zone, message text").add(c);
    Table::new("rel", "move_id integer !, tag_id integer !, note text")
        .key("move_id, tag_id")
        .add(c);
    Table::new("country", "code text !, name text, old_code text")
        .key("code")
        .unique("country_old_code", "old_code")
        .add(c);
    let country = c.find(None, "country", &path()).expect("just added").id;
    Table::new("city", "id integer !, country text, name text")
        .key("id")
        .refers_on_update("country", country, ForeignKeyAction::NoAction, cascade)
        .add(c);
    let tree = Table::new("tree", "id integer !, parent_id integer, name text")
        .key("id")
        .add(c);
    Table::new("unused", "").add(c);
    let constraint = Constraint {
        name: "tree_parent_id_fkey".to_owned(),
        kind: ConstraintKind::ForeignKey {
            table: tree,
            columns: vec![ColId(1)],
            on_delete: ForeignKeyAction::NoAction,
            on_update: ForeignKeyAction::NoAction,
        },
        columns: vec![ColId(2)],
        deferrable: false,
        deferred: false,
        validated: true,
        definition: String::new(),
    };
    c.add_constraint(tree, constraint);
    guarded_tables(c, movement);
    trees(c);
}

fn guarded_tables(c: &mut Catalog, movement: RelId) {
    Table::new("watched", "id integer !, a text, b text")
        .key("id")
        .trigger("on_update_of_a", "a")
        .add(c);
    Table::new("ruled", "id integer !, a text")
        .key("id")
        .with(|relation| {
            relation
                .rules
                .extend([RuleEvent::Update, RuleEvent::Delete])
        })
        .add(c);
    Table::new("guarded", "id integer !, a text")
        .key("id")
        .with(|relation| relation.row_security = true)
        .add(c);
    Table::new("remote", "id integer, a text")
        .with(|relation| relation.kind = RelationKind::ForeignTable)
        .add(c);
    Table::new("move_view", "id integer, name text")
        .view(&[movement])
        .add(c);
    Table::new(
        "stamped",
        "id integer !, a text, at timestamp with time zone",
    )
    .key("id")
    .with(|relation| relation.columns[2].default = Some("now()".to_owned()))
    .add(c);
    Table::new("dated", "id integer !, a text, day date")
        .key("id")
        .with(|relation| relation.columns[2].default = Some("('today'::text)::date".to_owned()))
        .add(c);
    Table::new("big", "id bigint !, ratio double precision, a text")
        .key("id")
        .add(c);
}

fn trees(c: &mut Catalog) {
    let parted = Table::new("parted", "id integer !, day date !, a text")
        .key("id, day")
        .with(|relation| relation.kind = RelationKind::PartitionedTable)
        .add(c);
    Table::new("parted_1", "id integer !, day date !, a text")
        .key("id, day")
        .with(|relation| relation.inheritance.parents.push(parted))
        .add(c);
    let base = Table::new("base", "id integer !, a text").key("id").add(c);
    Table::new("heir", "id integer !, a text, b text")
        .key("id")
        .with(|relation| relation.inheritance.parents.push(base))
        .add(c);
}

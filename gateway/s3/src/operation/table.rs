//! The table: the rows of all families, and one row for each operation.

use super::definition::OperationDefinition;
use super::name::Operation;
use super::{bucket, configuration, multipart, object, object_property};

/// Operations that belong together.
#[derive(Debug)]
pub struct OperationFamily {
    /// The title on the generated page.
    pub title: &'static str,
    /// The operations, in the order of the page.
    pub rows: &'static [OperationDefinition],
}

/// Every family, in the order of the generated page.
pub const FAMILIES: &[OperationFamily] = &[
    OperationFamily { title: "Buckets and listings", rows: bucket::ROWS },
    OperationFamily { title: "Objects", rows: object::ROWS },
    OperationFamily { title: "Properties of objects", rows: object_property::ROWS },
    OperationFamily { title: "Multipart uploads", rows: multipart::ROWS },
    OperationFamily { title: "Configuration of buckets", rows: configuration::ROWS },
];

/// Every operation's row, in the order of [`Operation::ALL`]. An operation without a row, or with two, does not
/// compile.
pub static OPERATIONS: [&OperationDefinition; Operation::COUNT] = in_order();

const fn in_order() -> [&'static OperationDefinition; Operation::COUNT] {
    let mut found: [Option<&'static OperationDefinition>; Operation::COUNT] =
        [None; Operation::COUNT];
    let mut family = 0;
    while family < FAMILIES.len() {
        let rows = FAMILIES[family].rows;
        let mut row = 0;
        while row < rows.len() {
            let place = rows[row].operation as usize;
            assert!(found[place].is_none(), "an operation has two rows");
            found[place] = Some(&rows[row]);
            row += 1;
        }
        family += 1;
    }
    let mut table = [&FAMILIES[0].rows[0]; Operation::COUNT];
    let mut place = 0;
    while place < table.len() {
        match found[place] {
            Some(row) => table[place] = row,
            None => panic!("an operation has no row"),
        }
        place += 1;
    }
    table
}

impl Operation {
    /// The operation's row in the table. Every operation has one, which the compiler checks; the look-up cannot fail.
    pub fn definition(self) -> &'static OperationDefinition {
        OPERATIONS[self as usize]
    }
}

//! Limits the size of the headers of a guest's requests.
//!
//! wasmtime's own functions trap when the headers are too large. A guest that forwards headers cannot know that, so
//! these functions return an error instead: `forbidden`, the closest one of `wasi:http/types.header-error`.

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi_http::p2::HeaderError;
use wasmtime_wasi_http::p2::bindings::http::types::{self, HostFields as _};
use wasmtime_wasi_http::{FieldMap, FieldMapError, WasiHttpView as _};

use crate::sandbox::call::CallState;

/// The interface's name in wasmtime's linker, which also serves components that were built for another patch version.
const TYPES: &str = "wasi:http/types@0.2.12";

type Fields = Resource<FieldMap>;

/// Replaces wasmtime's functions by these.
///
/// # Errors
/// When the linker does not have wasmtime's functions.
pub(in crate::sandbox) fn add_to_linker(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut types = linker.instance(TYPES)?;
    types.func_wrap(
        "[static]fields.from-list",
        |mut store: StoreContextMut<'_, CallState>, (entries,): (Vec<(String, Vec<u8>)>,)| {
            Ok((answer(store.data_mut().http().from_list(entries))?,))
        },
    )?;
    types.func_wrap(
        "[method]fields.set",
        |mut store: StoreContextMut<'_, CallState>, (fields, name, values): (Fields, String, Vec<Vec<u8>>)| {
            Ok((answer(store.data_mut().http().set(fields, name, values))?,))
        },
    )?;
    types.func_wrap(
        "[method]fields.append",
        |mut store: StoreContextMut<'_, CallState>, (fields, name, value): (Fields, String, Vec<u8>)| {
            Ok((answer(store.data_mut().http().append(fields, name, value))?,))
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

fn answer<T>(result: Result<T, HeaderError>) -> wasmtime::Result<Result<T, types::HeaderError>> {
    let error = match result {
        Ok(value) => return Ok(Ok(value)),
        Err(error) => error,
    };
    match error.downcast() {
        Ok(error) => Ok(Err(error)),
        Err(error) => match error.downcast_ref() {
            Some(FieldMapError::TotalSizeTooBig | FieldMapError::TooManyFields) => {
                Ok(Err(types::HeaderError::Forbidden))
            }
            _ => Err(error),
        },
    }
}

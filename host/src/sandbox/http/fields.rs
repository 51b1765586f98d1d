//! Headers of a guest's requests, held to a size.
//!
//! wasmtime's own functions trap when there are too many. A guest that passes on what others gave it cannot know, so here
//! it is an answer: `forbidden`, the nearest that `wasi:http/types.header-error` has.

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi_http::p2::HeaderError;
use wasmtime_wasi_http::p2::bindings::http::types::{self, HostFields as _};
use wasmtime_wasi_http::{FieldMap, FieldMapError, WasiHttpView as _};

use crate::sandbox::call::CallState;

/// The interface as wasmtime links it; components that were built for another minor version find it there.
const TYPES: &str = "wasi:http/types@0.2.12";

type Fields = Resource<FieldMap>;

/// Puts these functions in the place of wasmtime's.
///
/// # Errors
/// When wasmtime's are not there.
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

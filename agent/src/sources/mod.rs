//! Where facts come from: directories of YAML, and the resolver. Sources know objects and facts, and nothing of what
//! becomes of them.

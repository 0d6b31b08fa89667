// A CIF of the form: {name, text, isPasted}. Only the service parses it.

/** Return the number of data blocks. */
export const countBlocks = (text) => (text.match(/^\s*data_/gim) ?? []).length;

/** Return whether the file of the first crystal also contains the second. */
export const holdsBoth = (file) => countBlocks(file?.text ?? "") > 1;

/** Placeholder for a file that is not chosen yet. */
export const noFile = (name) => ({ name, text: "" });

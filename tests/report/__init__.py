"""Pictures, looked at by their content: data of lines, values of cells, words, and the pixels that come out."""
